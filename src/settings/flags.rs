//! Settings in flags of the command line.

use super::given::Settings;
use super::origin::{Origin, Problem};
use super::table::{Arguments, row};

/// Reads the flags.
pub(super) fn read(settings: &mut Settings, arguments: &Arguments, problems: &mut Vec<Problem>) {
    for (id, flag, values) in arguments.given() {
        let Some(row) = row(id) else { continue };
        let name = format!("--{}", flag.replace('_', "-"));
        let origin = Origin::Flag(name.clone());
        if let Some(Origin::Flag(other)) = settings.get(id).map(|given| &given.origin) {
            let text = format!("{other} and {name} cannot be used together");
            problems.push(Problem { origin: Origin::Default, text });
            continue;
        }
        let texts = values.iter().flat_map(|text| row.split(text)).collect();
        let put = settings.put(row, texts, origin.clone());
        problems.extend(put.err().map(|text| Problem { origin, text }));
    }
}
