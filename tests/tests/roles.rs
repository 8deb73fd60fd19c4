//! Roles: where they come from, which one wins, and that damage is named.

use monoco_tests::{Project, finish};
use serde_json::json;

const MINE: &str = "name: Mine\nsystem_prompt: |\n  Two\n  lines.\nengine: claude\n";

#[test]
fn without_any_file_there_are_those_that_are_built_in() {
    let project = Project::new();
    let ran = project.run(&["roles"]).ok();
    insta::assert_snapshot!(ran.out(), @"
    NAME      SOURCE    DESCRIPTION
    Default   built in  Does what it is told
    Planner   built in  Turns an issue into a plan that somebody else can follow
    Engineer  built in  Builds what an issue asks for, with tests
    Reviewer  built in  Looks for what is wrong with a change, and does not mend it
    ");
    assert_eq!(ran.err(), "");
}

#[test]
fn each_role_is_told_with_its_source() {
    let project = Project::new();
    let user = project.put(project.home().join(".monoco/roles/mine.yaml"), MINE);
    let list = "roles:\n- {name: Planner, system_prompt: Ours}\n";
    let own = project.put(".monoco/roles.yaml", list);
    let table = project.run(&["roles"]).ok().out();
    for row in [
        "Mine      claude  ~/.monoco/roles/mine.yaml",
        "Planner           .monoco/roles.yaml",
    ] {
        assert!(table.contains(row), "{table}");
    }
    let told = project.run(&["roles", "--json"]).ok().json();
    let role = |name: &str| {
        let roles = told.as_array().expect("an array");
        let found: Vec<_> = roles.iter().filter(|role| role["name"] == name).collect();
        assert_eq!(found.len(), 1, "{name} in {told}");
        found[0].clone()
    };
    let expected = json!({
        "name": "Mine", "description": "", "trigger": "", "goal": "",
        "system_prompt": "Two\nlines.\n", "engine": "claude",
        "source": {"kind": "user", "path": user},
    });
    assert_eq!(role("Mine"), expected);
    assert_eq!(
        role("Planner")["source"],
        json!({"kind": "project", "path": own})
    );
    assert_eq!(role("Reviewer")["source"], json!({"kind": "built_in"}));
}

#[test]
fn a_role_is_shown_as_a_file_that_says_the_same() {
    let project = Project::new();
    let path = project.put(".monoco/roles/mine.yaml", MINE);
    let shown = project.run(&["roles", "mine"]).ok().out();
    let expected = format!(
        "# {}\nname: \"Mine\"\nengine: \"claude\"\nsystem_prompt: |\n  Two\n  lines.\n",
        path.display()
    );
    assert_eq!(shown, expected);
    let told = |name: &str| project.run(&["roles", "--json", name]).ok().json();
    let before = told("Engineer");
    project
        .run_shell("\"$monoco\" roles Engineer > .monoco/roles/copy.yaml")
        .ok();
    let after = told("Engineer");
    assert_eq!(after[0]["source"]["kind"], "project");
    assert_eq!(after[0]["system_prompt"], before[0]["system_prompt"]);
    assert_eq!(after[0]["goal"], before[0]["goal"]);
}

#[test]
fn what_there_is_not_is_told_with_what_is_near() {
    let project = Project::new();
    project
        .run(&["roles", "Reviwer"])
        .fails_with(&["no such role: `Reviwer`", "did you mean `Reviewer`?"]);
}

#[test]
fn a_damaged_file_is_named_and_skipped() {
    let project = Project::new();
    project.put(".monoco/roles/mine.yaml", MINE);
    let path = project.put(".monoco/roles/bad.yaml", "name: [\n\u{1b}[2J");
    let words = format!("skipped {}: line ", path.display());
    let ran = project.run(&["roles", "-h"]).ok();
    assert!(!ran.err().contains("skipped"));
    for args in [&["roles"][..], &["roles", "--json"], &["roles", "Mine"]] {
        let ran = project.run(args).complains(0, &[&words]);
        assert!(
            ran.out().contains("Mine") && !ran.err().contains('\u{1b}'),
            "{ran}"
        );
    }
}

#[test]
fn a_home_with_roles_is_no_project() {
    let project = Project::in_subdirectory("home/code/repository/below");
    let (root, below) = (project.path().join("../../.."), project.path());
    let home = root.canonicalize().expect("it is there");
    let run = |args: &[&str]| {
        let mut command = project.monoco(args);
        command.env("HOME", &home);
        finish(command.spawn().expect("monoco can be executed"))
    };
    project.put(home.join(".monoco/roles.yaml"), MINE);
    run(&["ps"]).fails_with(&["no monoco project"]);
    assert!(run(&["roles"]).ok().out().contains("Mine"));
    std::fs::create_dir(below.join("../.git")).expect("room");
    run(&["run", "--", "true"]).ok();
    assert!(below.join("../.monoco/sessions").exists());
    assert!(!home.join(".monoco/sessions").exists());

    // Sessions make it one.
    run(&[
        "--project",
        &home.display().to_string(),
        "run",
        "--",
        "true",
    ])
    .ok();
    let elsewhere = home.join("elsewhere");
    std::fs::create_dir(&elsewhere).expect("room");
    let mut command = project.monoco(&["ps", "-aq"]);
    command.env("HOME", &home).current_dir(&elsewhere);
    let listed = finish(command.spawn().expect("monoco can be executed")).ok();
    assert_eq!(listed.out().lines().count(), 1);
}
