//! One file of roles: a role, or a list of them under `roles`.
//!
//! Fields that are not a role's are left alone, as the original program leaves them:
//! its own files have some.

use super::{Role, Source};
use crate::args::names;
use crate::yaml::{self, Map, Node, Value, YamlError};

/// The roles of a file, in its order. An empty one has none.
pub(super) fn parse(text: &str, source: &Source) -> Result<Vec<Role>, YamlError> {
    let document = yaml::parse(text)?;
    let map = match &document.value {
        Value::Null => return Ok(Vec::new()),
        Value::Map(map) => map,
        _ => return Err(neither(&document)),
    };
    match map.get("roles") {
        Some((_, list)) => match &list.value {
            Value::Null => Ok(Vec::new()),
            Value::List(nodes) => nodes.iter().map(|node| role(node, source)).collect(),
            value => Err(wrong(
                list,
                format!("`roles` is {}, not a list", value.kind()),
            )),
        },
        None if map.get("name").is_none() && map.get("system_prompt").is_none() => {
            Err(neither(&document))
        }
        None => Ok(vec![role(&document, source)?]),
    }
}

fn neither(node: &Node) -> YamlError {
    let what =
        "expected a role (`name`, `system_prompt` and others), or a list of them under `roles`";
    wrong(node, what.to_owned())
}

fn wrong(node: &Node, what: String) -> YamlError {
    YamlError {
        at: node.span.start,
        what,
    }
}

fn role(node: &Node, source: &Source) -> Result<Role, YamlError> {
    let Value::Map(map) = &node.value else {
        return Err(wrong(
            node,
            format!("{} where a role is expected", node.value.kind()),
        ));
    };
    let without = |field| wrong(node, format!("a role without `{field}`"));
    let optional = |field| Ok(text(map, field)?.unwrap_or_default());
    let name = text(map, "name")?.filter(|name| !name.trim().is_empty());
    let name = name.ok_or_else(|| without("name"))?;
    let name = names::role(&name).map_err(|expected| wrong(node, format!("`name`: {expected}")))?;
    let engine = text(map, "engine")?.map(|engine| engine.trim().to_owned());
    Ok(Role {
        name,
        description: optional("description")?,
        trigger: optional("trigger")?,
        goal: optional("goal")?,
        // An empty one is meant: the role adds nothing to what is typed.
        system_prompt: text(map, "system_prompt")?.ok_or_else(|| without("system_prompt"))?,
        engine: engine.filter(|engine| !engine.is_empty()),
        source: source.clone(),
    })
}

/// What stands in a field; `None` where nothing does.
fn text(map: &Map, field: &str) -> Result<Option<String>, YamlError> {
    let Some((_, node)) = map.get(field) else {
        return Ok(None);
    };
    match &node.value {
        Value::Null => Ok(None),
        // What becomes a program's argument ends at a NUL.
        Value::Text(text) if text.contains('\0') => {
            Err(wrong(node, format!("`{field}` holds a NUL")))
        }
        Value::Text(text) => Ok(Some(text.clone())),
        value => {
            let kind = value.kind();
            Err(wrong(
                node,
                format!("`{field}` is {kind}, not text; quote it"),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        let roles = parse(text, &Source::BuiltIn).expect(text);
        roles.into_iter().map(|role| role.name).collect()
    }

    fn refuses(text: &str, expected: &str) {
        let error = parse(text, &Source::BuiltIn).expect_err(text);
        assert_eq!(error.to_string(), expected, "{text}");
    }

    #[test]
    fn a_file_is_a_role_or_a_list_of_them() {
        assert_eq!(names("name: A\nsystem_prompt: x\n"), ["A"]);
        let list = "roles:\n- {name: A, system_prompt: x}\n- {name: B, system_prompt: y}\n";
        assert_eq!(names(list), ["A", "B"]);
        for nothing in ["", "# nothing yet\n", "roles:\n", "roles: []\n"] {
            assert_eq!(names(nothing), [""; 0], "{nothing}");
        }
    }

    #[test]
    fn all_six_fields_are_read_and_others_left_alone() {
        let text = "---\nname: Planner\ntype: role\ndescription: 规划\n\
                    preferences:\n- 'one: two'\ntrigger: 'issue.created'\ngoal: a plan\n\
                    system_prompt: |\n  # Identity\n  You plan.\nengine: ' claude'\n";
        let roles = parse(text, &Source::BuiltIn).expect("valid");
        let expected = Role {
            name: "Planner".into(),
            description: "规划".into(),
            trigger: "issue.created".into(),
            goal: "a plan".into(),
            system_prompt: "# Identity\nYou plan.\n".into(),
            engine: Some("claude".into()),
            source: Source::BuiltIn,
        };
        assert_eq!(roles, [expected]);
    }

    #[test]
    fn what_is_no_role_is_refused_with_its_place() {
        refuses(
            "name: A\n",
            "line 1, column 1: a role without `system_prompt`",
        );
        refuses(
            "roles:\n- name: A\n  system_prompt: x\n- system_prompt: y\n",
            "line 4, column 3: a role without `name`",
        );
        refuses(
            "name: ' '\nsystem_prompt: x",
            "line 1, column 1: a role without `name`",
        );
        refuses(
            "name: 5\nsystem_prompt: x",
            "line 1, column 7: `name` is a number, not text; quote it",
        );
        refuses(
            "name: \"a\\nb\"\nsystem_prompt: x",
            "line 1, column 1: `name`: a role is a few words on one line",
        );
        refuses("roles: x", "line 1, column 8: `roles` is text, not a list");
        refuses(
            "roles:\n- x",
            "line 2, column 3: text where a role is expected",
        );
        refuses(
            "name: A\nsystem_prompt: \"\\0\"",
            "line 2, column 16: `system_prompt` holds a NUL",
        );
        let neither = "line 1, column 1: expected a role (`name`, `system_prompt` and others), \
                       or a list of them under `roles`";
        refuses("colour: red", neither);
        refuses("- name: A", neither);
    }
}
