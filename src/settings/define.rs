//! The macro that expands the table to the configuration, its limits, the rows, and the command line.
//!
//! A row reads:
//!
//! ```text
//! name { field FIELD: TYPE = "DEFAULT",      a field of `Config`, or
//!        limit FIELD: TYPE = "DEFAULT",      a field of `Limits`, or
//!        through ACCESSOR,                   several fields, read and printed by an accessor
//!        computed "WORDS",                   the words for a default that is computed
//!        option "ARG",                       the flag `--name ARG`, or
//!        repeated "ARG",                     the same, several times, or
//!        switch NAME ('x') = "VALUE": "HELP",  flags without a value
//!        ; UNIT LEAST, CHANGE, SCOPE, "HELP" }
//! ```

/// Expands the table of settings.
macro_rules! settings {
    ($(
        $row:ident {
            $( field $field:ident : $type:ty $( = $default:tt )?, )?
            $( limit $limit:ident : $limit_type:ty $( = $limit_default:tt )?, )?
            $( through $accessor:ident, )?
            $( computed $computed:tt, )?
            $( option $argument:tt, )?
            $( repeated $repeated:tt, )?
            $( switch $switch:ident $( ($short:tt) )? = $value:tt : $switch_help:tt, )*
            ; $unit:ident $least:literal, $change:ident, $scope:ident, $help:tt
        }
    )*) => {
        /// The configuration of a server.
        #[derive(Debug, Clone, PartialEq)]
        #[allow(clippy::struct_excessive_bools, reason = "one field a setting")]
        pub struct Config {
            $( $( #[doc = $help] pub $field: $type, )? )*
            /// Number of worker threads.
            pub workers: NonZeroUsize,
            /// Certificates and keys.
            pub tls: TlsFiles,
            /// The file with a certificate made by this server, which is also the last of `tls.keys`.
            pub self_signed: Option<PathBuf>,
            /// The address in replies to PASV; `None` means that of the control connection.
            pub public_address: Option<Ipv4Addr>,
            /// The name that is looked up for this address, at the start and then periodically.
            pub public_name: Option<String>,
            /// The limits.
            pub limits: Limits,
            /// The configuration file, and those that it includes.
            pub files: ReadFiles,
        }

        impl Default for Config {
            fn default() -> Self {
                Self {
                    $( $( $field: default_of(&[$( $default )?], rules::$row), )? )*
                    workers: default_workers(),
                    tls: TlsFiles::default(),
                    self_signed: None,
                    public_address: None,
                    public_name: None,
                    limits: Limits::default(),
                    files: ReadFiles::default(),
                }
            }
        }

        /// The limits of a server.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Limits {
            $( $( #[doc = $help] pub $limit: $limit_type, )? )*
        }

        impl Default for Limits {
            fn default() -> Self {
                Self {
                    $( $( $limit: default_of(&[$( $limit_default )?], rules::$row), )? )*
                }
            }
        }

        /// Bounds and unit of each setting.
        #[expect(non_upper_case_globals, reason = "the names of the rows")]
        mod rules {
            use crate::settings::value::{Rules, Unit};
            $( pub(super) const $row: Rules = Rules { unit: Unit::$unit, least: $least }; )*
        }

        /// Every setting, in the order of the documentation.
        pub static ROWS: &[Row] = &[ $( {
            $( type Of = $type; )?
            $( type Of = $limit_type; )?
            $( type Of = <$accessor as Accessor>::Of; )?
            Row {
                id: stringify!($row),
                help: $help,
                default: first(&[ $( $( $default )? )? $( $( $limit_default )? )? ]),
                computed: first(&[ $( $computed )? ]),
                flags: flags(
                    first(&[ $( $argument )? ]),
                    first(&[ $( $repeated )? ]),
                    &[ $( Switch {
                        id: stringify!($switch),
                        short: &[ $( $short )? ],
                        value: $value,
                        help: $switch_help,
                    } ),* ],
                ),
                kind: <Of as Field>::KIND,
                is_list: <Of as Field>::IS_LIST,
                separator: <Of as Field>::SEPARATOR,
                rules: rules::$row,
                change: Change::$change,
                scope: Scope::$scope,
                expected: <Of as Field>::expected,
                put: |config, texts, rules| {
                    let value = <Of as Field>::read(texts, rules)?;
                    $( config.$field = value; )?
                    $( config.limits.$limit = value; )?
                    $( $accessor::put(config, value); )?
                    Ok(())
                },
                texts: |config, rules| {
                    $( let value = &config.$field; )?
                    $( let value = &config.limits.$limit; )?
                    $( let value = &$accessor::get(config); )?
                    <Of as Field>::texts(value, rules)
                },
            }
        } ),* ];

        /// Serves a directory by FTP, with a fixed pool of worker threads. `ftpserver check` checks the settings, and
        /// `ftpserver ctl` controls a running server.
        #[derive(Debug, FromArgs)]
        #[allow(clippy::struct_excessive_bools, reason = "one field a flag")]
        pub struct Arguments {
            /// file with settings; flags and environment variables override it
            #[argh(option, arg_name = "file")]
            pub config: Option<String>,
            $(
                $( #[doc = $help] #[argh(option, arg_name = $argument)] pub $row: Option<String>, )?
                $( #[doc = $help] #[argh(option, arg_name = $repeated)] pub $row: Vec<String>, )?
                $( #[doc = $switch_help] #[argh(switch $(, short = $short)?)] pub $switch: bool, )*
            )*
        }

        impl Arguments {
            /// Returns the flags that were given: setting, flag, and values.
            #[must_use]
            pub fn given(&self) -> Vec<(&'static str, &'static str, Vec<String>)> {
                let mut given = Vec::new();
                $(
                    $(
                        let _: &str = $argument;
                        given.extend(self.$row.clone().map(|text| {
                            (stringify!($row), stringify!($row), vec![text])
                        }));
                    )?
                    $(
                        let _: &str = $repeated;
                        if !self.$row.is_empty() {
                            given.push((stringify!($row), stringify!($row), self.$row.clone()));
                        }
                    )?
                    $(
                        if self.$switch {
                            given.push((stringify!($row), stringify!($switch), vec![$value.to_owned()]));
                        }
                    )*
                )*
                given
            }
        }
    };
}

pub(super) use settings;
