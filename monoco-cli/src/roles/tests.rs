use super::*;
use std::fs;
use std::os::unix::fs::symlink;
use tempfile::TempDir;

/// A home and a project, with files of roles in them.
fn world(files: &[(&str, &str)]) -> TempDir {
    let dir = TempDir::new().expect("room");
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().expect("it has one")).expect("room");
        fs::write(path, text).expect("room");
    }
    dir
}

fn load(dir: &TempDir) -> Roles {
    let (home, project) = (dir.path().join("home"), dir.path().join("project"));
    Roles::load(Some(&home), Some(&project))
}

fn role(name: &str, prompt: &str) -> String {
    format!("name: {name}\nsystem_prompt: {prompt}\n")
}

fn prompt<'a>(roles: &'a Roles, name: &str) -> Option<&'a str> {
    roles.get(name).map(|role| role.system_prompt.as_str())
}

#[test]
fn without_any_file_there_are_those_that_are_built_in() {
    let roles = Roles::load(None, None);
    let names: Vec<_> = roles.all().iter().map(|role| role.name.as_str()).collect();
    assert_eq!(names, ["Default", "Planner", "Engineer", "Reviewer"]);
    for role in roles.all() {
        assert_eq!(role.source, Source::BuiltIn);
        let told = [&role.goal, &role.system_prompt].map(|text| text.is_empty());
        let is_default = role.name == "Default";
        assert_eq!(told, [is_default; 2], "{role:?}");
        assert!(!role.description.is_empty() && !role.trigger.is_empty());
    }
}

#[test]
fn later_ones_win() {
    let [a, b, c, d] = ["one", "two", "three", "four"].map(|prompt| role("Mine", prompt));
    let mut files = vec![("home/.monoco/roles.yaml", a.as_str())];
    for (name, text, expected) in [
        ("home/.monoco/roles/a.yaml", &b, "two"),
        ("project/.monoco/roles.yaml", &c, "three"),
        ("project/.monoco/roles/z.yml", &d, "four"),
    ] {
        files.push((name, text));
        let dir = world(&files);
        let roles = load(&dir);
        assert_eq!(prompt(&roles, "Mine"), Some(expected));
        let path = dir.path().join(name);
        assert_eq!(
            roles.get("Mine").expect("it is there").source.to_string(),
            path.display().to_string()
        );
        assert_eq!(roles.all().len(), 5, "one of them is shown");
    }
}

#[test]
fn in_a_folder_the_last_name_wins() {
    let [a, b] = ["one", "two"].map(|prompt| role("Default", prompt));
    let dir = world(&[
        ("project/.monoco/roles/b.yaml", &b),
        ("project/.monoco/roles/a.yaml", &a),
        ("project/.monoco/roles/notes.txt", "no role"),
    ]);
    let roles = load(&dir);
    assert_eq!(prompt(&roles, "Default"), Some("two"));
    assert!(roles.damaged().is_empty());
}

#[test]
fn upper_and_lower_case_do_not_matter_where_it_is_clear() {
    let dir = world(&[(
        "project/.monoco/roles.yaml",
        "roles:\n- {name: QA, system_prompt: x}\n- {name: qa, system_prompt: y}\n",
    )]);
    let roles = load(&dir);
    assert_eq!(prompt(&roles, "QA"), Some("x"));
    assert_eq!(prompt(&roles, "qa"), Some("y"));
    assert_eq!(prompt(&roles, "Qa"), None);
    assert_eq!(
        roles.get("rEVIEWER").map(|role| role.name.as_str()),
        Some("Reviewer")
    );
    assert_eq!(prompt(&roles, "Review"), None);
}

#[test]
fn damage_is_named_and_hides_nothing_else() {
    let good = role("Good", "x");
    let dir = world(&[
        ("home/.monoco/roles.yaml", "roles:\n- name: [\n"),
        (
            "project/.monoco/roles/a.yaml",
            "roles:\n- {name: A, system_prompt: x}\n- {name: B}\n",
        ),
        ("project/.monoco/roles/b.yaml", "a: &x [*x]\n"),
        ("project/.monoco/roles/z.yaml", &good),
    ]);
    symlink(
        "/etc/passwd",
        dir.path().join("project/.monoco/roles/c.yaml"),
    )
    .expect("room");
    let roles = load(&dir);
    assert_eq!(prompt(&roles, "Good"), Some("x"));
    assert!(roles.get("A").is_none(), "no half of a file is believed");
    let mut damaged = roles.damaged().iter();
    for (name, problem) in [
        ("home/.monoco/roles.yaml", "line "),
        (
            "project/.monoco/roles/a.yaml",
            "line 3, column 3: a role without `system_prompt`",
        ),
        ("project/.monoco/roles/b.yaml", "line 1, column 8: aliases"),
        ("project/.monoco/roles/c.yaml", "it is a symbolic link"),
    ] {
        let damaged = damaged.next().expect(name);
        assert_eq!(damaged.path, dir.path().join(name));
        assert!(damaged.problem.starts_with(problem), "{}", damaged.problem);
    }
    assert!(damaged.next().is_none());
}

#[test]
fn a_projects_folder_is_bounded_and_no_link() {
    let dir = world(&[("elsewhere/a.yaml", &role("A", "x"))]);
    let elsewhere = dir.path().join("elsewhere");
    fs::create_dir_all(dir.path().join("project/.monoco")).expect("room");
    let folder = dir.path().join("project/.monoco/roles");
    symlink(&elsewhere, &folder).expect("room");
    let problem = |roles: &Roles| roles.damaged()[0].problem.clone();
    let roles = load(&dir);
    assert!(roles.get("A").is_none() && problem(&roles).contains("symbolic link"));
    fs::remove_file(&folder).expect("it is there");
    fs::create_dir(&folder).expect("room");
    for n in 0..=MAX_FILES {
        fs::write(folder.join(format!("{n}.yaml")), "").expect("room");
    }
    assert!(problem(&load(&dir)).contains("more than 256 files"));
}

#[test]
fn a_home_that_is_a_project_has_its_roles_once() {
    let dir = world(&[("home/.monoco/roles.yaml", "damaged")]);
    let home = dir.path().join("home");
    let roles = Roles::load(Some(&home), Some(&home));
    assert_eq!(roles.damaged().len(), 1);
}
