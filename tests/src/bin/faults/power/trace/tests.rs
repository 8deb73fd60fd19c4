use super::*;

/// What stands between quotes, and between `<` and `>`, as `strace -xx` writes it.
fn escaped(line: &str) -> String {
    let (mut escaped, mut within) = (String::new(), false);
    // Words of strace's own stand in brackets as well.
    let own = ["<unfinished", "<..."];
    for (at, c) in line.char_indices() {
        let is_own = own.iter().any(|own| line[at..].starts_with(own));
        let closes = within && matches!(c, '"' | '>');
        if within && !closes {
            escaped += &format!("\\x{:02x}", u32::from(c));
            continue;
        }
        escaped.push(c);
        within = !closes && !is_own && matches!(c, '"' | '<');
    }
    escaped
}

fn read_lines(lines: &[&str]) -> Result<Vec<Op>, String> {
    let lines: Vec<_> = lines.iter().map(|line| escaped(line)).collect();
    read(&lines.join("\n"), "/p")
}

#[track_caller]
fn check(lines: &[&str], expected: &[Op]) {
    assert_eq!(read_lines(lines).expect("a trace"), expected);
}

fn path(path: &str) -> String {
    path.to_owned()
}

#[test]
fn a_record_is_written() {
    let made = path(".monoco/run/a/r");
    let record = path(".monoco/sessions/a.json");
    check(
        &[
            r#"7 mkdirat(AT_FDCWD</>, "/p/.monoco", 0700) = 0"#,
            r#"7 openat(5</p/.monoco/run/a>, "r", O_WRONLY|O_CREAT|O_EXCL, 0600) = 6</p/.monoco/run/a/r>"#,
            r#"7 write(6</p/.monoco/run/a/r>, "{}", 2) = 2"#,
            r#"7 write(6</p/.monoco/run/a/r>, "{}", 2) = 1"#,
            r#"7 ftruncate(6</p/.monoco/run/a/r>, 2) = 0"#,
            r#"7 fsync(6</p/.monoco/run/a/r>)    = 0"#,
            r#"7 renameat(5</p/.monoco/run/a>, "r", 4</p/.monoco/sessions>, "a.json") = 0"#,
            r#"7 fsync(4</p/.monoco/sessions>) = -1 EIO (Input/output error)"#,
            r#"7 unlinkat(4</p/.monoco/sessions>, "a.json", 0) = 0"#,
        ],
        &[
            Op::Folder(path(".monoco")),
            Op::File(made.clone()),
            Op::Write {
                path: made.clone(),
                at: Some(0),
                bytes: b"{}".to_vec(),
            },
            Op::Write {
                path: made.clone(),
                at: Some(2),
                bytes: b"{".to_vec(),
            },
            Op::Length {
                path: made.clone(),
                len: 2,
            },
            Op::Sync {
                path: made.clone(),
                covers: 5,
            },
            Op::Rename {
                from: made,
                to: record.clone(),
            },
            Op::Remove(record),
        ],
    );
}

#[test]
fn a_sync_covers_what_was_over_when_it_began() {
    check(
        &[
            r#"7 fsync(4</p/.monoco> <unfinished ...>"#,
            r#"8 mkdirat(4</p/.monoco>, "run", 0700) = 0"#,
            r#"7 <... fsync resumed>) = 0"#,
            r#"8 fsync(3</p>)         = 0"#,
        ],
        &[
            Op::Folder(path(".monoco/run")),
            Op::Sync {
                path: path(".monoco"),
                covers: 0,
            },
            Op::Sync {
                path: path(""),
                covers: 2,
            },
        ],
    );
}

#[test]
fn commands_are_told_with_what_they_print() {
    check(
        &[
            r#"7 execve("/bin/monoco", ["monoco", "stop"], 0x5640 /* 36 vars */) = 0"#,
            r#"7 write(1<pipe:[9]>, "id", 2 <unfinished ...>"#,
            r#"8 +++ killed by SIGKILL +++"#,
            r#"7 <... write resumed>) = 2"#,
            r#"7 +++ exited with 3 +++"#,
        ],
        &[
            Op::Executed {
                pid: 7,
                argv: vec![path("monoco"), path("stop")],
            },
            Op::Printed {
                pid: 7,
                text: path("id"),
            },
            Op::Ended { pid: 8, code: -1 },
            Op::Ended { pid: 7, code: 3 },
        ],
    );
}

#[test]
fn a_socket_is_found_through_a_descriptor() {
    check(
        &[
            r#"7 unlinkat(5</p/.monoco/run/a>, "s", 0) = -1 ENOENT (No such file or directory)"#,
            r#"7 bind(9<socket:[1]>, {sa_family=AF_UNIX, sun_path="/proc/self/fd/5/s"}, 20) = 0"#,
        ],
        &[Op::Socket(path(".monoco/run/a/s"))],
    );
}

#[test]
fn what_is_elsewhere_is_left_out() {
    check(
        &[
            r#"7 openat(AT_FDCWD</p>, "other", O_WRONLY|O_CREAT, 0600) = 6</p/other>"#,
            r#"7 sendfile(6</p/other>, 5</q>, NULL, 9) = 9"#,
            r#"7 write(3</p/.monoco/lost>(deleted), "x", 1) = 1"#,
            r#"7 mmap(NULL, 9, PROT_READ, MAP_SHARED, 4</p/.monoco/sessions/a.json>, 0) = 0x7f"#,
        ],
        &[],
    );
}

#[test]
fn what_is_not_known_is_an_error() {
    for line in [
        r#"7 sendfile(6</p/.monoco/a>, 5</q>, NULL, 9) = 9"#,
        r#"7 linkat(5</p/.monoco>, "a", 5</p/.monoco>, "b", 0) = 0"#,
        r#"7 renameat2(5</p/.monoco>, "a", 5</p/.monoco>, "b", RENAME_EXCHANGE) = 0"#,
        r#"7 renameat(5</p>, "a", 5</p/.monoco>, "b") = 0"#,
        r#"7 mmap(NULL, 9, PROT_READ|PROT_WRITE, MAP_SHARED, 4</p/.monoco/a>, 0) = 0x7f"#,
        r#"7 fallocate(4</p/.monoco/a>, FALLOC_FL_PUNCH_HOLE, 0, 9) = 0"#,
        r#"7 unlink("relative") = 0"#,
        r#"7 write(6</p/.monoco/a>, "x"..., 2) = 2"#,
        r#"7 sync() = 0"#,
    ] {
        assert!(read_lines(&[line]).is_err(), "{line}");
    }
}
