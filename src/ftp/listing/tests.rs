//! Tests of the lines that the server writes, and of the listings of many servers that the client reads.

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::ftp::time::{Days, TimeValue};

fn time(text: &str) -> Timestamp {
    TimeValue::parse(text.as_bytes()).unwrap().0
}

fn now() -> Timestamp {
    time("20261122161139")
}

fn entry(name: &[u8], kind: Kind, size: u64) -> Entry {
    let modified = time("20261101120000");
    Entry {
        name: name.to_vec(),
        kind,
        size,
        modified,
        mode: 0o644,
        links: 1,
        identity: (1, 255),
        owner: 0,
        group: 0,
        link: None,
    }
}

#[test]
fn a_list_line_is_that_of_ls() {
    let mut out = Vec::new();
    entry(b"a b", Kind::File, 1234).list_line(
        time("20261122161139"),
        &mut Days::default(),
        &mut out,
    );
    assert_eq!(out, b"-rw-r--r--   1 ftp      ftp              1234 Nov  1 12:00 a b\r\n");
}

#[test]
fn facts_end_with_a_semicolon_each() {
    let mut out = Vec::new();
    entry(b"", Kind::File, 5).facts(
        Facts::select("SIZE;Type;nonsense;unix.mode"),
        "r",
        b"a",
        &mut Days::default(),
        &mut out,
    );
    assert_eq!(out, b"type=file;size=5;UNIX.mode=0644; a");
    assert_eq!(Facts::select("size;").feature(), "MLST type;size*;modify;perm;unique;UNIX.mode;");
    assert_eq!(Facts::select("").selection(), "");
}

/// Checks that each line gives the entry behind it: its name, kind (`f`, `d`, `l`, `o` or `?`), size and time; `-` if
/// these are unknown.
fn check(lines: &[(&str, &str, char, &str, &str)]) {
    for (line, name, kind, size, modified) in lines {
        check_one(line.as_bytes(), name, *kind, size, modified);
    }
}

fn check_one(line: &[u8], name: &str, kind: char, size: &str, modified: &str) {
    let shown = String::from_utf8_lossy(line);
    let read = read_list(line, now());
    assert!(read.unread.is_empty(), "{shown}: not read");
    let [listed] = read.entries.as_slice() else { panic!("{shown}: {:?}", read.entries) };
    assert_eq!(String::from_utf8_lossy(&listed.name), name, "{shown}");
    assert_eq!(letter(listed.kind), kind, "{shown}");
    assert_eq!(
        listed.size.map_or_else(|| "-".to_owned(), |size| size.to_string()),
        size,
        "{shown}"
    );
    let expected = (modified != "-").then(|| time(&format!("{modified:0<14}")));
    assert_eq!(listed.modified, expected, "{shown}");
}

fn letter(kind: Option<Kind>) -> char {
    match kind {
        Some(Kind::File) => 'f',
        Some(Kind::Directory) => 'd',
        Some(Kind::Link) => 'l',
        Some(Kind::Other) => 'o',
        None => '?',
    }
}

#[test]
fn lines_of_ls_are_read() {
    check(&[
        (
            "-rw-r--r--    1 0        0            1234 Nov  1 12:00 a b",
            "a b",
            'f',
            "1234",
            "202611011200",
        ),
        (
            "drwxr-xr-x   2 ftp      ftp          4096 Dec 31 23:59  lead",
            " lead",
            'd',
            "-",
            "202512312359",
        ),
        ("lrwxrwxrwx 1 u g 3 Jan  1  2020 a -> b", "a", 'l', "-", "20200101"),
        ("lrwxrwxrwx 1 u g 13 Jan  1  2020 a -> b -> /x/y/z/w", "a", 'l', "-", "20200101"),
        ("lrwxrwxrwx 1 u g 4 Jan  1  2020 a -> b -> /x/y", "a -> b", 'l', "-", "20200101"),
        ("-rw-r--r-- 1 nogroup 99 Feb 29 2024 x", "x", 'f', "99", "20240229"),
        ("-rw-r--r-- 531 Jan 29 03:26 README", "README", 'f', "531", "202601290326"),
        ("-rw-rw-r--+ 1 u May 7 Mar 01 08:30 name", "name", 'f', "7", "202603010830"),
        ("-rw-r--r--@ 1 u g 7 Mar 01 08:30 name ", "name ", 'f', "7", "202603010830"),
        (
            "-rw-r--r--   1 Jane Doe Domain Users  531 Jan 26 20:59 a",
            "a",
            'f',
            "531",
            "202601262059",
        ),
        ("drwxr-xr-x12 u Dept 12 x  512 Jan 26 20:59 a", "a", 'd', "-", "202601262059"),
        (
            "drwxrwxr-x               folder        2 May 10  1996 network",
            "network",
            'd',
            "-",
            "19960510",
        ),
        ("crw-rw-rw- 1 root root 1,  3 Jan 26 20:59 null", "null", 'o', "-", "202601262059"),
        ("brw-rw---- 1 root disk 8,0 Jan 26 20:59 sda", "sda", 'o', "-", "202601262059"),
        (
            "-rw-r--r--   1 u g  -1215752192 Jan 26 20:59 big.iso",
            "big.iso",
            'f',
            "-",
            "202601262059",
        ),
        (
            "-rw-r--r--   1 u g 18446744073709551616 Jan 26 20:59 big",
            "big",
            'f',
            "-",
            "202601262059",
        ),
        ("-rw-r--r--   1 u g 1,234,567 Jan 26 20:59 a", "a", 'f', "1234567", "202601262059"),
        ("-rw-r--r--   1 u g 4.0K Jan 26 20:59 a", "a", 'f', "-", "202601262059"),
        ("-rw-r--r--   1 u verylonggroup531 Jan 26 20:59 a", "a", 'f', "-", "202601262059"),
    ]);
}

#[test]
fn lines_of_ls_with_odd_columns_are_read() {
    check(&[
        ("-????????? ? ? ? ?            ? a b", "a b", 'f', "-", "-"),
        ("1234 4 -rw-r--r-- 1 u g 531 Jan 26 20:59 a", "a", 'f', "531", "202601262059"),
        ("-rw-r--r-- 1 u g 531 Jan 26 20:59:33 2001 a", "a", 'f', "531", "20010126205933"),
        ("-rw-r--r-- 1 u g 531 Jan 26 20:59 2001", "2001", 'f', "531", "202601262059"),
        ("-rw-r--r-- 1 u g 531 Fri Jan 26 20:59:33 2001 a", "a", 'f', "531", "20010126205933"),
        (
            "-C--E-----FTP B QUA1I1      18128       41 Aug 12 13:56 QUADTEST",
            "QUADTEST",
            'f',
            "41",
            "202608121356",
        ),
        ("drwxr-xr-x 2 u g 0 Jan 26 20:59 d/", "d", 'd', "-", "202601262059"),
        ("-rw-r--r-- 1 u g 5 Feb 30 20:59 a", "a", 'f', "5", "-"),
        (
            "0100644   500  101   12345    123456789       filename",
            "filename",
            'f',
            "12345",
            "19731129213309",
        ),
    ]);
}

#[test]
fn dates_of_every_locale_are_read() {
    check(&[
        ("-rw-r--r-- 1 u g 531 Mär 26 20:59 a", "a", 'f', "531", "202603262059"),
        ("-rw-r--r-- 1 u g 531 26. Okt 20:59 a", "a", 'f', "531", "202610262059"),
        ("-rw-r--r-- 1 u g 531 26 févr. 20:59 a b", "a b", 'f', "531", "202602262059"),
        ("-rw-r--r-- 1 u g 531 дек 26  2009 a", "a", 'f', "531", "20091226"),
        ("-rw-r--r-- 1 u g 531 26 Qwe 2001 a", "a", 'f', "531", "-"),
        ("-rw-r--r-- 1 u g 531  1月 26 20:59 a", "a", 'f', "531", "202601262059"),
        ("-rw-r--r-- 1 u g 531 8月10日 20:59 a", "a", 'f', "531", "202608102059"),
        ("-rw-r--r-- 1 u g 531 2002年2月11日 a", "a", 'f', "531", "20020211"),
        ("-rw-r--r-- 1 u g 531 2019年  3月  7日 a b", "a b", 'f', "531", "20190307"),
        ("-rw-r--r-- 1 u g 531 2019년 12월 7 12:30 a", "a", 'f', "531", "201912071230"),
        ("-rw-r--r-- 1 root other 531 29 Jan 2001 my file", "my file", 'f', "531", "20010129"),
        (
            "-rw-r--r-- 1 0 0 531 29 Jan 03:26 my 29 Feb 2001 file",
            "my 29 Feb 2001 file",
            'f',
            "531",
            "202601290326",
        ),
        ("-rw-r--r-- 1 u g 531 2005-06-07 21:22 a", "a", 'f', "531", "200506072122"),
        (
            "-rw-r--r-- 1 u g 531 2005-06-07 21:22:33.500000000 +0200 a",
            "a",
            'f',
            "531",
            "20050607212233",
        ),
        ("-rw-r--r-- 1 u g 531 2005-06-07 21:22:33 +0200 a", "a", 'f', "531", "20050607212233"),
        ("-rw-r--r-- 1 u g 531 2005-06-07 21:22:33 +0200", "+0200", 'f', "531", "20050607212233"),
        ("-rw-r--r-- 1 u g 531 Jun  7 21:22:33 2005 -0500 a", "a", 'f', "531", "20050607212233"),
        ("-rw-r--r-- 1 u g 531 2005-06-07T21:22:33Z a", "a", 'f', "531", "20050607212233"),
        ("-rw-r--r-- 1 u g 531 2005-06-07  a", "a", 'f', "531", "20050607"),
        ("-rw-r--r-- 1 u g 531 2005/06/07 21:22 a", "a", 'f', "531", "200506072122"),
        ("-rw-r--r-- 1 u g 531 07.06.2005 21:22 a", "a", 'f', "531", "200506072122"),
        ("-rw-r--r-- 1 u g 531 07/06/2005 21:22 a", "a", 'f', "531", "-"),
        ("-rw-r--r-- 1 u g 531 06-07 21:22 a", "a", 'f', "531", "202606072122"),
        ("-rw-r--r-- 1 u g 531 09-26 2000 a", "a", 'f', "531", "20000926"),
        ("-rw-r--r-- 1 u g 531 3 29 03:26 a", "a", 'f', "531", "202603290326"),
        ("-rw-r--r-- 1 3 5 2001 Jan 5 20:59 a", "a", 'f', "2001", "202601052059"),
    ]);
}

#[test]
fn dates_in_encodings_of_one_byte_are_read() {
    check_one(b"-rw-r--r-- 1 u g 531 M\xe4r 26 20:59 a", "a", 'f', "531", "202603262059");
    check_one(b"-rw-r--r-- 1 u g 531 \xff\xed\xe2 26 20:59 a", "a", 'f', "531", "-");
    check_one(b"-rw-r--r-- 1 u g 531 8\xb7\xee 10  2004 a", "a", 'f', "531", "20040810");
    check_one(
        b"04-14-00  03:47PM <JUNCTION> Documents [C:\\Users\\x]",
        "Documents",
        'l',
        "-",
        "200004141547",
    );
}

#[test]
fn lines_of_dos_and_small_systems_are_read() {
    check(&[
        ("11-22-26  04:11PM       <DIR>          Some Dir", "Some Dir", 'd', "-", "202611221611"),
        ("01-02-1999  12:05AM             42 f.txt", "f.txt", 'f', "42", "199901020005"),
        ("07-20-26   9:52AM  <DIR>  a", "a", 'd', "-", "202607200952"),
        ("07/25/2013  05:49 PM  17 b c", "b c", 'f', "17", "201307251749"),
        ("2013-09-02  18:48  9,730 c", "c", 'f', "9730", "201309021848"),
        ("02.09.2013  18:48  9.730 c", "c", 'f', "9730", "201309021848"),
        ("2013-09-02  下午 06:48  9,730 c", "c", 'f', "9730", "-"),
        ("04-14-00  15:47 <SYMLINKD> link [\\a b]", "link", 'l', "-", "200004141547"),
        (
            "      1234    Mar-05-2019    10:00:02   file.bin",
            "file.bin",
            'f',
            "1234",
            "20190305100002",
        ),
        (
            "       512    Feb-28-1998  05:23:30   ZCOMM             <DIR>",
            "ZCOMM",
            'd',
            "-",
            "19980228052330",
        ),
        ("      0           DIR   04-11-95   16:26  ADDRESS", "ADDRESS", 'd', "-", "199504111626"),
        (
            "    612      A          07-28-103   16:45  air_tra1.bag",
            "air_tra1.bag",
            'f',
            "612",
            "200307281645",
        ),
        ("   1123      DIR  A   10-05-100  23:38  test", "test", 'd', "-", "200010052338"),
        ("206876  Apr 04, 2000  21:06 VShell file", "VShell file", 'f', "206876", "200004042106"),
        ("0  Dec 12, 2002  02:13 dir/", "dir", 'd', "-", "200212120213"),
        ("CMT             <DIR>           11-21-94        10:17", "CMT", 'd', "-", "199411211017"),
        (
            "DESIGN1.DOC          11264 May 11 '95 14:20",
            "DESIGN1.DOC",
            'f',
            "11264",
            "199505111420",
        ),
    ]);
}

#[test]
fn lines_of_other_systems_are_read() {
    check(&[
        (
            "- [R----F--] rhesus  214059  Oct 20 15:27    cx.exe",
            "cx.exe",
            'f',
            "214059",
            "202610201527",
        ),
        ("d [RWCEAFMS] admin  512  Jan 16 18:53    login", "login", 'd', "-", "202601161853"),
        ("+i8388621.48594,m825718503,r,s280,\tdjb.html", "djb.html", 'f', "280", "19960301221503"),
        ("+i8388621.50690,m824255907,/,up755\t514", "514", 'd', "-", "19960213235827"),
        (
            "QSYS            77824 02/23/00 15:09:55 *DIR     QOpenSys/",
            "QOpenSys",
            'd',
            "-",
            "20000223150955",
        ),
        ("PEP             36864 04/03/20 15:09:55 *STMF    a b.txt", "a b.txt", 'f', "36864", "-"),
        (
            "PEP             36864 04/24/04 15:09:55 *FILE    A.FILE",
            "A.FILE",
            'd',
            "-",
            "20040424150955",
        ),
        (
            "PEP                                     *MEM     A.FILE/B.MBR",
            "A.FILE/B.MBR",
            'f',
            "-",
            "-",
        ),
        (
            "README   ANONYMOU V         71         26          1 1997-04-02 12:33:20 TCP291",
            "README.ANONYMOU",
            'f',
            "-",
            "19970402123320",
        ),
        (
            "SUB      DIR      -          -          -          - 1997-04-02 12:33:20 -",
            "SUB",
            'd',
            "-",
            "19970402123320",
        ),
        (
            "EMAIL       101            8192  8-Mar-26 14:58:27  255,255 \"nunu\"",
            "EMAIL",
            'f',
            "8192",
            "20260308145827",
        ),
    ]);
}

#[test]
fn lines_of_hosts_are_read() {
    check(&[
        ("WYOSPT 3420   2003/05/21  1  200  FB      80  8053  PS  A.B.C", "A.B.C", 'f', "-", "-"),
        ("WPTA01 3290   2004/03/04  1    3  FB      80  3125  PO  A.PDS", "A.PDS", 'd', "-", "-"),
        ("type=file;size=7; a", "a", 'f', "7", "-"),
        (
            "LOGIN.COM;2           1/3         19-NOV-2001 21:41:05 [ROOT] (RWE,RWE,RE,RE)",
            "LOGIN.COM",
            'f',
            "-",
            "20011119214105",
        ),
        ("SUB.DIR;1  1  2-JUL-2003 10:30:13.64", "SUB", 'd', "-", "20030702103013"),
        (
            "SECRET.TXT;1     %RMS-E-PRV, insufficient privilege or file protection violation",
            "SECRET.TXT",
            'f',
            "-",
            "-",
        ),
    ]);
}

/// Returns the names in a listing, with the letter of each kind.
fn names(text: &str) -> Vec<String> {
    let read = read_list(text.as_bytes(), now());
    assert_eq!(read.unread, Vec::<Vec<u8>>::new(), "{text}");
    let shown =
        |entry: &Listed| format!("{}:{}", letter(entry.kind), String::from_utf8_lossy(&entry.name));
    read.entries.iter().map(shown).collect()
}

#[test]
fn listings_of_several_lines_are_read() {
    let vms = "\r\nDirectory ANONYMOUS_ROOT:[000000]\r\n\r\nA_VERY_LONG_NAME.TXT;2\r\n                1  10-JAN-2020 10:00:00 [U] (RWED,,,)\r\n\
               A_VERY_LONG_NAME.TXT;1  1/3  9-JAN-2020 10:00 [U] (RWED,,,)\r\nB.DIR;1  3  9-JAN-2020 10:00\r\n\r\nTotal of 3 files, 5/9 blocks.\r\n";
    assert_eq!(names(vms), ["f:A_VERY_LONG_NAME.TXT", "f:A_VERY_LONG_NAME.TXT;1", "d:B"]);
    let data_sets = "Volume Unit    Referred Ext Used Recfm Lrecl BlkSz Dsorg Dsname\r\nWYOSPT 3420   2003/05/21  1  200  FB      80  8053  PS  A.B\r\n\
                     Migrated                                                C.D\r\nTSO004 3390   VSAM E.F\r\nPseudo Directory                                        G\r\n";
    assert_eq!(names(data_sets), ["f:A.B", "?:C.D", "o:E.F", "d:G"]);
    let members = " Name     VV.MM   Created       Changed      Size  Init   Mod   Id\r\nTBSHELF   01.03 2002/09/12 2002/10/11 09:37    11    11     0 KIL001\r\nBARE\r\n";
    assert_eq!(names(members), ["f:TBSHELF", "f:BARE"]);
    let jobs = "JOBNAME  JOBID    OWNER    STATUS CLASS\r\nIBMUSERT JOB00054 IBMUSER  OUTPUT A        RC=0000 3 spool files\r\n";
    assert_eq!(names(jobs), ["f:JOB00054"]);
    let tandem = "File         Code             EOF  Last Modification    Owner  RWEP\r\nA  101  8192  8-Mar-26 14:58:27  255,255 \"nunu\"\r\n";
    assert_eq!(names(tandem), ["f:A"]);
    let vxworks = "  size          date       time       name\r\n--------       ------     ------    --------\r\n   9    Mar-05-2019    10:00:02   a\r\n";
    assert_eq!(names(vxworks), ["f:a"]);
}

#[test]
fn lines_without_an_entry_are_noise_and_all_others_count() {
    let noise = "total 12\r\ninsgesamt 8\n总用量 4\n\n   \ndrwxr-xr-x 2 a b 1 Jan 1 2020 .\ndrwxr-xr-x 2 a b 1 Jan 1 2020 ..\n./:\n\
                 Total of 3 files, 12 blocks.\n Volume in drive C is X\n               2 File(s)  1,024 bytes\n";
    assert_eq!(read_list(noise.as_bytes(), now()), Directory::default());
    for line in
        ["-rw-r--r--", "hello", "ls: x: Permission denied", "-rw-r--r-- 1 u g 531 a", "d", "total"]
    {
        let read = read_list(line.as_bytes(), now());
        assert_eq!(
            (read.entries, read.unread),
            (Vec::new(), vec![line.as_bytes().to_vec()]),
            "{line}"
        );
    }
}

#[test]
fn fact_lines_of_many_servers_are_read() {
    let one = |line: &[u8]| {
        let read = read_facts(line);
        assert!(read.unread.is_empty(), "{line:?}");
        read.entries.into_iter().next().map(|entry| {
            (String::from_utf8_lossy(&entry.name).into_owned(), letter(entry.kind), entry.size)
        })
    };
    let expected = |name: &str, kind, size| Some((name.to_owned(), kind, size));
    let full = b"Type=file;Size=17;Modify=20261122161139.5;perm=r; a; b";
    assert_eq!(one(full), expected("a; b", 'f', Some(17)));
    assert_eq!(one(b" type=dir; d"), expected("d", 'd', None));
    assert_eq!(one(b"size=5;; a"), expected("a", 'f', Some(5)));
    assert_eq!(one(b"type=file;ownername=Domain Users; b c"), expected("b c", 'f', None));
    assert_eq!(one(b"type=file;x-owner=J\xfcrgen; b"), expected("b", 'f', None));
    assert_eq!(one(b"type=OS.unix=slink:/a; l"), expected("l", 'l', None));
    assert_eq!(one(b"type=file;odd;size=3 a b"), expected("a b", 'f', Some(3)));
    assert_eq!(one(b" nofacts here"), expected("nofacts here", '?', None));
    for line in [b"type=cdir; .".as_slice(), b"type=dir; .", b"type=dir;..; ..", b"type=pdir; /x"] {
        assert_eq!(one(line), None);
    }
    assert_eq!(read_facts(b"no facts\nnone\n").unread.len(), 2);
}

#[test]
fn modes_and_targets_of_links_are_read() {
    let list = |line: &str| {
        let listed = read_list(line.as_bytes(), now()).entries.remove(0);
        (listed.mode, listed.target.map(|target| String::from_utf8(target).unwrap()))
    };
    let to = |target: &str| Some(target.to_owned());
    assert_eq!(list("-rw-r----- 1 u g 3 Jan  1  2020 a -> b"), (Some(0o640), None));
    assert_eq!(list("drwxrwxrwt 1 u g 3 Jan  1  2020 a"), (Some(0o777), None));
    assert_eq!(list("-rwsr-S--- 1 u g 3 Jan  1  2020 a"), (Some(0o740), None));
    assert_eq!(list("lrwxrwxrwx 1 u g 3 Jan  1  2020 a -> b/c"), (Some(0o777), to("b/c")));
    assert_eq!(list("-????????? 1 u g 3 Jan  1  2020 a"), (None, None));
    let facts = |line: &str| read_facts(line.as_bytes()).entries.remove(0);
    assert_eq!(facts("type=file;UNIX.mode=0640; a").mode, Some(0o640));
    assert_eq!(facts("type=OS.unix=slink:/B;unix.mode=x; a").target, Some(b"/B".to_vec()));
    assert_eq!(facts("type=OS.unix=slink; a").target, None);
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(name in "[^\r\n\0/ ][^\r\n\0/]{0,30}", size: u64, second in 0_i64..1_795_000_000) {
        prop_assume!(name != "." && name != ".." );
        let now = now();
        let entry = Entry { modified: Timestamp::new(second, 0).unwrap(), ..entry(name.as_bytes(), Kind::File, size) };
        let mut line = Vec::new();
        entry.list_line(now, &mut Days::default(), &mut line);
        let listed = read_list(&line, now).entries.remove(0);
        prop_assert_eq!((&listed.name, listed.size), (&entry.name, Some(size)));
        prop_assert_eq!(listed.mode, Some(entry.mode));
        let mut line = Vec::new();
        entry.facts(Facts::default(), "r", &entry.name, &mut Days::default(), &mut line);
        let listed = read_facts(&line).entries.remove(0);
        prop_assert_eq!((listed.name, listed.size, listed.modified), (entry.name, Some(size), Some(entry.modified)));
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        let _read = (read_facts(&bytes), read_list(&bytes, now()));
    }

    /// Each line is an entry, known to be none, or counted.
    #[test]
    fn no_line_vanishes(lines in proptest::collection::vec("[a-zA-Z0-9 ;:,.<>/+*\\[\\]_é月-]{1,60}", 1..20)) {
        let text = lines.join("\r\n");
        let read = read_list(text.as_bytes(), now());
        let known = |line: &&String| {
            let line = line.trim();
            line.is_empty() || line.ends_with(" .") || line.ends_with(" ..")
                || read_list(line.as_bytes(), now()) == Directory::default()
        };
        let noise = lines.iter().filter(known).count();
        prop_assert!(read.entries.len() + read.unread.len() + noise >= lines.len());
    }

    /// Damage to a line may make it unreadable, but never changes the name in silence into that of another file.
    #[test]
    fn a_line_that_is_cut_is_counted(cut in 1_usize..57) {
        let line = b"-rw-r--r--   1 ftp      ftp          1234 Nov 22 16:11 name";
        let read = read_list(&line[..cut], now());
        prop_assert_eq!(read.entries.len() + read.unread.len(), 1);
    }
}

#[test]
fn dates_of_digits_alone_are_read() {
    check(&[
        ("-rw-r--r-- 1 u g 3 20200107 a", "a", 'f', "3", "20200107"),
        ("-rw-r--r-- 1 u g 3 20200107 12:30 a b", "a b", 'f', "3", "202001071230"),
        ("-rw-r--r-- 1 u g 3 202001071230 a", "a", 'f', "3", "202001071230"),
        ("-rw-r--r-- 1 u g 3 20200107123015 a", "a", 'f', "3", "20200107123015"),
        ("drwxr-xr-x 1 u g 3 20200107T1230Z a", "a", 'd', "-", "202001071230"),
        ("-rw-r--r-- 1 u g 3 20200107T12:30:15 a", "a", 'f', "3", "20200107123015"),
        ("-rw-r--r-- u g 3 20200107 20200108", "20200108", 'f', "3", "20200107"),
        ("-rw-r--r-- 3 20200107 a", "a", 'f', "3", "20200107"),
        ("-rw-r--r-- 1 Domain Users of us 3 20200107 a", "a", 'f', "3", "20200107"),
        ("-rw-r--r-- 1 20200101 20200102 3 20200107 a", "a", 'f', "3", "20200107"),
        ("-rw-r--r-- 1 20200101 20200102 3 Jan  7  2020 a", "a", 'f', "3", "20200107"),
        ("20200107  12:30       <DIR>          a b", "a b", 'd', "-", "202001071230"),
        ("20200107  12:30              1,234 a b", "a b", 'f', "1234", "202001071230"),
    ]);
}

#[test]
fn seconds_since_1970_are_read() {
    check(&[
        ("-rw-r--r-- 1 u g 3 1578400200 a", "a", 'f', "3", "202001071230"),
        ("-rw-r--r-- 1 u g 3 1578400200.1234 a b", "a b", 'f', "3", "202001071230"),
        ("drwxr-xr-x 1 1000 1000 4096 1578400200 a", "a", 'd', "-", "202001071230"),
        ("lrwxrwxrwx 1 u g 1 1578400200 a -> b", "a", 'l', "-", "202001071230"),
        // This line may have no date, so that the number is the size.
        ("-rw-r--r-- 1 1000 1000 1578400200 a", "a", 'f', "-", "-"),
    ]);
}

#[test]
fn a_line_with_an_impossible_time_keeps_its_name() {
    check(&[
        ("-rw-r--r-- 1 u g 3 2020-01-07 24:00 a", "a", 'f', "3", "20200108"),
        ("-rw-r--r-- 1 u g 3 2020-12-31 24:00:00 a", "a", 'f', "3", "20210101"),
        ("-rw-r--r-- 1 u g 3 Jan  7 24:00 a", "a", 'f', "3", "20260108"),
        ("-rw-r--r-- 1 u g 3 Jan  7 12:60 a", "a", 'f', "3", "-"),
        ("-rw-r--r-- 1 u g 3 Jan  7 25:00 a", "a", 'f', "3", "-"),
        ("-rw-r--r-- 1 u g 3 Feb 30 2020 a", "a", 'f', "3", "-"),
        ("-rw-r--r-- 1 u g 3 Jan  0 2020 a", "a", 'f', "3", "-"),
        ("-rw-r--r-- 1 u g 3 Jan 00 12:00 a", "a", 'f', "3", "-"),
        ("-rw-r--r-- 1 u g 3 Jan 32 12:00 a", "a", 'f', "3", "-"),
        ("-rw-r--r-- 1 u mar 0 Jan 7 2020 a", "a", 'f', "0", "20200107"),
        ("-rw-r--r-- 1 u mar 40 Jan 7 2020 a", "a", 'f', "40", "20200107"),
        ("-rw-r--r-- 1 u g 3 Jan  1  1601 a", "a", 'f', "3", "16010101"),
        ("01-07-20  24:00       <DIR>          a", "a", 'd', "-", "20200108"),
        ("01-07-20  24:10              3 a", "a", 'f', "3", "-"),
    ]);
}

#[test]
fn modes_of_facts_are_read_in_any_octal_form() {
    for mode in ["644", "0644", "0o644", "100644"] {
        let read = read_facts(format!("type=file;UNIX.mode={mode}; a\r\n").as_bytes());
        assert_eq!(read.entries.first().map(|entry| entry.mode), Some(Some(0o644)), "{mode}");
    }
}
