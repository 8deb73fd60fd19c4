//! The service, with a systemd of the test's own: installed, upgraded, stopped
//! and removed, while sessions go on.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use monoco_tests::{Project, UserManager, agent, monoco, wait_until};

const UNITS: [&str; 2] = ["monoco.service", "monoco.socket"];

/// Where the units of a login at `project` lie.
fn units(project: &Project) -> [PathBuf; 2] {
    UNITS.map(|unit| project.path().join(".config/systemd/user").join(unit))
}

/// Puts `script` in the daemon's place, before the service is installed.
fn stand_in(project: &Project, script: &str) {
    let path = project.path().join("daemon");
    let (mark, value) = project.mark();
    let (monoco, agent, dir) = (monoco(), agent(), project.path().display());
    let names = format!("monoco='{monoco}' agent='{agent}' {mark}='{value}'");
    let script = format!("#!/bin/sh\nexport {names}\ncd '{dir}'\n{script}\n");
    fs::write(&path, script).expect("a script");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let beside = project.path().join(".config/systemd/user/monoco.service.d");
    fs::create_dir_all(&beside).expect("a directory");
    let path = path.display();
    // A script cannot say that it is ready, nor that it lives.
    let text = format!("[Service]\nType=exec\nWatchdogSec=0\nExecStart=\nExecStart={path}\n");
    fs::write(beside.join("stand-in.conf"), text).expect("a unit");
}

/// A port that was free just now.
fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it has one").to_string()
}

#[test]
fn without_a_user_manager_nothing_is_written() {
    let project = Project::new();
    for args in [
        &["service", "install"][..],
        &["service", "uninstall"],
        &["service", "status"],
        &["service", "status", "--json"],
    ] {
        let mut command = project.monoco(args);
        command
            .env("HOME", project.path())
            .env("XDG_RUNTIME_DIR", project.path().join("none"))
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("DBUS_SESSION_BUS_ADDRESS");
        let ran = monoco_tests::finish(command.spawn().expect("monoco can be executed"));
        ran.fails_with(&["no systemd user manager", "`monoco serve`"]);
    }
    let left = fs::read_dir(project.path()).expect("it is there").count();
    assert_eq!(left, 0, "nothing is half installed");
}

#[test]
fn a_service_comes_is_upgraded_and_goes() {
    let project = Project::new();
    let Some(manager) = UserManager::start(&project) else {
        return;
    };
    manager.monoco(&["service", "status"]).code(4);
    manager.monoco(&["service", "uninstall"]).ok();
    stand_in(&project, "exec sleep 1000");
    let address = free_port();
    let install = ["service", "install", "--listen", &address];
    let ran = manager.monoco(&install).ok();
    assert!(ran.err().contains("installed, and started"), "{ran}");
    for unit in UNITS {
        assert_eq!(manager.property(unit, "ActiveState"), "active");
        assert_eq!(manager.property(unit, "UnitFileState"), "enabled");
    }
    let pid = manager.property("monoco.service", "MainPID");
    let status = manager.monoco(&["service", "status", "--json"]).ok().json();
    assert_eq!(status["running"], true);
    assert_eq!(status["enabled"], true);
    assert_eq!(status["pid"].to_string(), pid);
    assert_eq!(status["listen"][0], address.as_str());
    assert_eq!(status["unit"], units(&project)[0].to_str().expect("plain"));

    assert!(status["version"].is_null(), "it tells none: {status}");
    let unit = fs::read_to_string(&units(&project)[0]).expect("it is installed");
    assert!(
        unit.contains(&format!("ExecStart=:{} serve --all", monoco())),
        "{unit}"
    );

    // An upgrade: the same socket, another process.
    let invocation = |unit| manager.property(unit, "InvocationID");
    let (service, socket) = (invocation("monoco.service"), invocation("monoco.socket"));
    let ran = manager.monoco(&[&install[..], &["-v"]].concat()).ok();
    assert!(ran.err().contains("replaced, and restarted"), "{ran}");
    assert_ne!(invocation("monoco.service"), service, "restarted");
    assert_eq!(invocation("monoco.socket"), socket, "nobody was refused");
    // Another address takes another socket.
    let unix = project.path().join("it's/a %n.sock");
    let elsewhere = free_port();
    let unix_text = unix.to_str().expect("plain");
    let install = [
        "service", "install", "--listen", &elsewhere, "--unix", unix_text,
    ];
    manager.monoco(&install).ok();
    assert_ne!(invocation("monoco.socket"), socket);
    let mode = unix
        .metadata()
        .expect("it is listened on")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    // What is left of one whose files were removed by hand is no hindrance.
    for path in units(&project) {
        fs::remove_file(path).expect("it is installed");
    }
    let install = [
        "service", "install", "--listen", &address, "--unix", unix_text,
    ];
    manager.monoco(&install).ok();
    let status = manager.monoco(&["service", "status", "--json"]).ok().json();
    assert_eq!(status["listen"][0], address.as_str());

    manager.systemctl(&["stop", "monoco.socket"]).ok();
    let ran = manager.monoco(&["service", "status"]).code(3);
    assert!(ran.out().starts_with("stopped\n"), "{ran}");
    manager.monoco(&["service", "uninstall"]).ok();
    manager.monoco(&["service", "status"]).code(4);
    assert!(units(&project).iter().all(|unit| !unit.exists()));
    assert!(!unix.exists());
    manager.monoco(&["service", "uninstall"]).ok();
}

#[test]
fn systemd_hands_every_argument_on_as_it_is() {
    let project = Project::new();
    let Some(manager) = UserManager::start(&project) else {
        return;
    };
    stand_in(&project, "exec sleep 1000");
    let odd = [
        r#"a "b"\c 'd'"#,
        "100% %h %%",
        "$HOME ${HOME} $$",
        "x\ny\tz",
        "; -#é ",
    ];
    let mut install = vec!["service", "install", "--no-tcp", "--unix", "s"];
    for name in &odd {
        fs::create_dir(project.path().join(name)).expect("any name will do");
        install.extend(["--project", name]);
    }
    manager.monoco(&install).ok();

    // The same line, with a program that writes down what it is given.
    let record = project.path().join("record");
    let (script, given) = (record.display(), project.path().join("given"));
    let text = format!("#!/bin/sh\nprintf '%s\\0' \"$@\" >'{}'\n", given.display());
    fs::write(&record, text).expect("a script");
    fs::set_permissions(&record, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let [service, _] = units(&project);
    let unit = fs::read_to_string(&service).expect("it is installed");
    let line = unit.lines().find(|line| line.starts_with("ExecStart="));
    let line = line
        .expect("it starts something")
        .replace(monoco(), &script.to_string());
    let unit = format!("[Service]\nType=oneshot\n{line}\n");
    fs::write(service.with_file_name("recorder.service"), unit).expect("a unit");
    manager.systemctl(&["daemon-reload"]).ok();
    manager.systemctl(&["start", "recorder.service"]).ok();
    let given = fs::read(&given).expect("it was started");
    let given = String::from_utf8(given).expect("as it was");
    let given: Vec<_> = given.split_terminator('\0').collect();
    let dir = project.path().display();
    for name in odd {
        let arg = format!("--project={dir}/{name}");
        assert!(given.contains(&arg.as_str()), "{arg:?} is not in {given:?}");
    }
    let socket = format!("--unix={dir}/s");
    assert_eq!(given[0], "serve");
    assert!(given.contains(&socket.as_str()), "absolute: {given:?}");
}

#[test]
fn what_does_not_come_up_is_taken_back() {
    let project = Project::new();
    let Some(manager) = UserManager::start(&project) else {
        return;
    };
    stand_in(&project, "exec sleep 1000");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = taken
        .local_addr()
        .map(|address| (taken, address.to_string()));
    let (_listener, taken) = taken.expect("it has an address");
    let install = ["service", "install", "--listen", &taken];
    manager
        .monoco(&install)
        .fails_with(&["start monoco.socket"]);
    assert!(units(&project).iter().all(|unit| !unit.exists()));
    manager.monoco(&["service", "status"]).code(4);

    // Over an older one: the older one runs on.
    let address = free_port();
    manager
        .monoco(&["service", "install", "--listen", &address])
        .ok();
    let before = units(&project).map(|unit| fs::read(unit).expect("it is installed"));
    manager
        .monoco(&install)
        .fails_with(&["start monoco.socket"]);
    let after = units(&project).map(|unit| fs::read(unit).expect("it is installed"));
    assert!(before == after);
    let status = manager.monoco(&["service", "status", "--json"]).ok().json();
    assert_eq!(status["listen"][0], address.as_str());
}

#[test]
fn units_of_others_are_left_alone() {
    let project = Project::new();
    let Some(manager) = UserManager::start(&project) else {
        return;
    };
    let [service, socket] = units(&project);
    fs::create_dir_all(service.parent().expect("a directory")).expect("it can be made");
    fs::write(&service, "[Service]\nExecStart=/bin/true\n").expect("a unit");
    for verb in ["install", "uninstall"] {
        manager
            .monoco(&["service", verb])
            .fails_with(&["was not written by monoco", "monoco.service"]);
    }
    assert_eq!(fs::read(&service).expect("it is there").len(), 30);
    assert!(!Path::new(&socket).exists());
}

#[test]
fn sessions_go_on_whatever_becomes_of_the_service() {
    let project = Project::new();
    let Some(manager) = UserManager::start(&project) else {
        return;
    };
    // One as the daemon starts them, one that no scope could be had for.
    stand_in(
        &project,
        r#"if [ ! -e .monoco ]; then
            systemd-run --user --scope --quiet --collect "$monoco" run -d --name scoped -- "$agent" sleep
            "$monoco" run -d --name inside -- "$agent" sleep
            touch started
        fi
        exec sleep 1000"#,
    );
    manager
        .monoco(&["service", "install", "--listen", &free_port()])
        .ok();
    let started = project.path().join("started");
    wait_until("the sessions are started", || started.exists());
    let groups = |name: &str| {
        let session = manager.monoco(&["show", "--json", name]).ok().json();
        let pid = session[0]["pid"].to_string();
        let ran = manager.run(&["cat", &format!("/proc/{pid}/cgroup")]).ok();
        ran.out()
    };
    assert!(groups("scoped").contains(".scope"), "{}", groups("scoped"));
    assert!(
        groups("inside").contains("monoco.service"),
        "{}",
        groups("inside")
    );
    let living = || manager.monoco(&["ps", "-q"]).ok().out().lines().count();
    let still = |what: &str| assert_eq!(living(), 2, "after {what}");
    still("the start");
    for what in [
        &["restart", "monoco.service"][..],
        &["stop", "monoco.service"],
        &["start", "monoco.service"],
        &["kill", "--signal=KILL", "--kill-who=main", "monoco.service"],
        &["stop", "monoco.socket", "monoco.service"],
        &["daemon-reexec"],
    ] {
        manager.systemctl(what).ok();
        still(what[0]);
    }
    manager
        .monoco(&["service", "install", "--listen", &free_port()])
        .ok();
    still("an upgrade");
    manager.monoco(&["service", "uninstall"]).ok();
    still("the removal");
    for name in ["scoped", "inside"] {
        manager.monoco(&["stop", "-t", "0", name]).ok();
    }
    assert_eq!(living(), 0);
}

#[test]
fn the_daemon_runs_as_a_service() {
    let project = Project::new();
    let Some(manager) = UserManager::start(&project) else {
        return;
    };
    let address = free_port();
    let project_dir = project.path().to_str().expect("plain").to_owned();
    let install = [
        "service",
        "install",
        "--project",
        &project_dir,
        "--listen",
        &address,
    ];
    // It returns once the daemon has said READY=1, on the socket that it was given.
    project.start(&[], &["true"]);
    manager.monoco(&install).ok();
    let pid = || manager.property("monoco.service", "MainPID");
    let first = pid();
    let ask = || {
        use std::io::{Read, Write};
        // The address is the machine's: there is no network namespace.
        let mut stream = std::net::TcpStream::connect(&address).expect("systemd listens");
        let request =
            format!("GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it is read");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it is answered");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    };
    ask();
    manager.systemctl(&["reload", "monoco.service"]).ok();
    ask();
    assert_eq!(pid(), first, "reloaded, not restarted");
    manager.systemctl(&["restart", "monoco.service"]).ok();
    assert_ne!(pid(), first);
    ask();
    let start = std::time::Instant::now();
    manager.systemctl(&["stop", "monoco.service"]).ok();
    assert!(start.elapsed().as_secs() < 6, "TERM ends it within 5 s");
    assert_eq!(manager.property("monoco.service", "Result"), "success");
    // Whoever calls starts it.
    ask();
    manager.monoco(&["service", "status"]).ok();
    manager.monoco(&["service", "uninstall"]).ok();
    std::net::TcpStream::connect(&address).expect_err("nobody listens");
}
