//! A broken workflow gets all its mistakes, each with its place.

use super::*;

/// The mistakes of a workflow with this body, without the file's name.
#[track_caller]
fn mistakes(body: &str, expected: &[&str]) {
    let errors = match check("w.toml", &format!("name = \"t\"\n{body}"), &known()) {
        Ok(_) => Vec::new(),
        Err(errors) => errors,
    };
    let found: Vec<String> = errors.iter().map(|e| e.to_string().trim_start_matches("w.toml:").to_owned()).collect();
    assert_eq!(found, expected);
}

const STEP: &str = "[[steps]]\nid = \"a\"\nkind = \"compute\"\nwith = { x = 1 }\n";

#[test]
fn a_good_workflow_has_none() {
    mistakes(STEP, &[]);
}

#[test]
fn an_unknown_kind_gets_a_suggestion() {
    mistakes(
        "[[steps]]\nid = \"a\"\nkind = \"agnet\"\n",
        &["4:8: step `a` has the unknown kind `agnet`; did you mean `agent`?"],
    );
}

#[test]
fn ids_are_unique_and_can_be_said_in_expressions() {
    mistakes(
        &format!("{STEP}{STEP}"),
        &["7:6: there are two steps `a`; an id names one step of the whole workflow: rename one"],
    );
    mistakes(
        "[[steps]]\nid = \"my-step\"\nkind = \"compute\"\nwith = { x = 1 }\n",
        &[
            "3:6: `my-step` cannot be the id of a step; use a lower-case letter, then lower-case letters, digits and underscores; not `taken` or `iterations`",
        ],
    );
}

#[test]
fn unknown_and_missing_keys_are_named() {
    mistakes(
        "[[steps]]\nid = \"a\"\nkind = \"agent\"\nagent = \"writer\"\npromt = \"x\"\n",
        &[
            "2:1: step `a` has no `prompt`; add `prompt = …`",
            "2:1: step `a` has no `output_max`; add `output_max = …`",
            "6:1: unknown key `promt` in step `a`; did you mean `prompt`?",
        ],
    );
    mistakes(&format!("nmae = \"x\"\n{STEP}"), &["2:1: unknown key `nmae` in the workflow; did you mean `name`?"]);
    mistakes("", &["1:1: the workflow has no `steps`; add `steps = …`"]);
}

#[test]
fn names_of_others_must_be_known() {
    mistakes(
        "[[steps]]\nid = \"a\"\nkind = \"agent\"\nagent = \"writter\"\nprompt = \"x\"\noutput_max = 5\n\
         [[steps]]\nid = \"b\"\nkind = \"tool\"\ntool = \"context.serch\"\n\
         [[steps]]\nid = \"c\"\nkind = \"publish\"\npublisher = \"fed\"\npost = { title = \"'t'\", text = \"'t'\" }\n",
        &[
            "5:9: there is no agent `writter`; did you mean `writer`?",
            "11:8: there is no tool `context.serch`; did you mean `context.search`?",
            "15:13: there is no publisher `fed`; did you mean `feed`?",
        ],
    );
}

#[test]
fn a_schema_is_checked_where_it_is_written() {
    let step = |schema: &str| {
        format!(
            "[[steps]]\nid = \"a\"\nkind = \"agent\"\nagent = \"writer\"\nprompt = \"x\"\noutput_max = 5\nschema = {schema}\n"
        )
    };
    let object = |properties: &str| step(&format!("{{ type = \"object\", properties = {{ {properties} }} }}"));
    mistakes(&object("a = { type = \"string\" }"), &[]);
    mistakes(
        &object("a = { type = \"string\", minLenght = 1 }"),
        &["8:67: the schema says `minLenght` at #/properties/a, which is not checked here; did you mean `minLength`?"],
    );
    mistakes(
        &object("a = { type = \"text\" }"),
        &["8:50: the JSON Schema has `type` at #/properties/a, which is no type, nor a list of types"],
    );
    mistakes(
        &step("{ type = \"array\" }"),
        &[
            "8:10: the schema is not that of an object, which is what providers take; write type = \"object\", and put a list into a property",
        ],
    );
    mistakes(&step("7"), &["8:10: `schema` must be a table, or the name of a .json file beside the workflow"]);
    mistakes(
        &step("\"../post.json\""),
        &[
            "8:10: `../post.json` is not the name of a .json file beside the workflow; write the file's name alone, such as \"post.json\"",
        ],
    );
    mistakes(
        &step("\"post.json\""),
        &["8:10: nothing stands beside this workflow, so there is no `post.json`; write it as a table"],
    );
    let long = "x".repeat(SCHEMA_BYTES_MAX);
    let bytes = format!("{{\"description\":\"{long}\",\"type\":\"object\"}}").len();
    mistakes(
        &step(&format!("{{ type = \"object\", description = \"{long}\" }}")),
        &[&format!("8:10: the schema has {bytes} bytes, and {SCHEMA_BYTES_MAX} is the most; ask for less at once")],
    );
}

#[test]
fn what_a_schema_leaves_no_room_for_is_told_and_so_is_what_it_does_not_have() {
    let schema = "schema = { type = \"object\", properties = { title = { type = \"string\" } } }";
    let step = |more: &str| {
        format!(
            "[[steps]]\nid = \"a\"\nkind = \"agent\"\nagent = \"writer\"\nprompt = \"x\"\noutput_max = 5\n{schema}\n{more}"
        )
    };
    mistakes(
        &step("prefill = \"So:\"\nparse = \"score\"\n"),
        &[
            "9:11: step `a` has a `schema`, whose JSON leaves no room for `prefill`; take one of the two away",
            "10:9: step `a` has a `schema`, whose JSON leaves no room for `parse`; take one of the two away",
        ],
    );
    mistakes(
        &step("[outputs]\na = \"steps.a.output.titel\"\nb = \"{{ steps.a.output.title }}\"\nc = \"steps.a.outputs\"\n"),
        &[
            "10:6: the schema of step `a` has no property `titel`; did you mean `title`?",
            "12:6: the output of step `a` has no `outputs`; did you mean `output`?",
        ],
    );
}

#[test]
fn an_address_without_quotes_of_its_own_is_told_by_its_place_in_the_list() {
    let step = |images: &str| {
        format!(
            "name = \"t\"\n[[steps]]\nid = \"a\"\nkind = \"agent\"\nagent = \"writer\"\nprompt = \"x\"\noutput_max = 5\n\
             images = {images}\n"
        )
    };
    let good = "\"'https://x/a.png'\"";
    assert!(check("w.toml", &step(&format!("[{good}]")), &known()).is_ok());
    let errors = check("w.toml", &step(&format!("[{good}, \"https://x/a.png\"]")), &known()).err().unwrap();
    let told = errors[0].to_string();
    assert!(errors.len() == 1 && told.contains("the expression `images[1]` does not parse: "), "{told}");
    assert!(told.ends_with("; a text of its own stands in quotes twice: \"'https://…'\""), "{told}");
}

#[test]
fn a_template_error_has_its_line_inside_the_text() {
    mistakes(
        "[[steps]]\nid = \"a\"\nkind = \"approve\"\nwhat = \"\"\"\none\ntwo {{ inputs. }}\n\"\"\"\n",
        &[
            "7:16: the template `what` does not parse: syntax error: unexpected end of variable block, expected identifier or integer",
        ],
    );
    mistakes(
        "[[steps]]\nid = \"a\"\nkind = \"branch\"\nwhen = \"1 >\"\nthen = [{ id = \"b\", kind = \"compute\", with = {} }]\n",
        &["5:11: the expression `when` does not parse: syntax error: unexpected end of input, expected expression"],
    );
}

#[test]
fn an_undeclared_input_is_found_where_it_is_used() {
    mistakes(
        &format!(
            "[inputs.topic]\ntype = \"text\"\n{STEP}[[steps]]\nid = \"b\"\nkind = \"approve\"\nwhat = \"Go: {{{{ inputs.topik }}}}\"\n"
        ),
        &["11:16: the workflow declares no input `topik`; did you mean `inputs.topic`?"],
    );
    mistakes(
        "[[steps]]\nid = \"a\"\nkind = \"compute\"\nwith = { x = \"inputs.brief\", y = \"a.x\", z = \"social\" }\n",
        &[
            "5:15: the workflow declares no input `brief`; declare it as [inputs.brief]",
            "5:35: unknown name `a`; write `steps.a` for the output of that step",
            "5:46: unknown name `social`; write 'social' in quotes for the text itself",
        ],
    );
}

#[test]
fn only_steps_that_are_done_can_be_used() {
    let compute = |id: &str, x: &str| format!("{{ id = \"{id}\", kind = \"compute\", with = {{ x = \"{x}\" }} }}");
    let steps = |list: &[String]| format!("steps = [\n{}\n]\n", list.join(",\n"));
    mistakes(
        &steps(&[compute("a", "steps.a.x")]),
        &["3:45: cycle: step `a` uses its own output; use `loop.previous` inside a loop"],
    );
    mistakes(
        &steps(&[compute("a", "steps.b.x"), compute("b", "steps.a.x")]),
        &["3:45: cycle: `a` → `b` → `a`; let one of them do without the other"],
    );
    mistakes(
        &steps(&[compute("a", "steps.b.x"), compute("b", "1")]),
        &["3:45: step `a` uses step `b`, which comes later; move `b` before `a`"],
    );
    mistakes(
        &steps(&[compute("a", "1"), compute("b", "steps.ab.x")]),
        &["4:45: step `b` uses step `ab`, which does not exist; did you mean `a`?"],
    );
    mistakes(
        &steps(&[compute("a", "1"), compute("b", "steps.a.y")]),
        &["4:45: the output of step `a` has no `y`; known here: `x`"],
    );
    let both = format!(
        "{{ id = \"p\", kind = \"parallel\", steps = [{}, {}] }}",
        compute("a", "1"),
        compute("b", "steps.a.x")
    );
    mistakes(
        &steps(&[both]),
        &[
            "3:137: step `b` uses step `a`, whose output cannot be seen from here; use the output of the step that contains it, which is there once all of it is done",
        ],
    );
    let inside = format!("{{ id = \"p\", kind = \"sequence\", steps = [{}] }}", compute("a", "steps.p.b"));
    mistakes(&steps(&[inside]), &["3:85: cycle: `a` → `p` → `a`; let one of them do without the other"]);
}

#[test]
fn a_loop_needs_a_bound() {
    let repeat = |times: &str| {
        format!(
            "[[steps]]\nid = \"l\"\nkind = \"loop\"\n{times}until = \"steps.b.x > loop.iteration\"\nsteps = [{{ id = \"b\", kind = \"compute\", with = {{ x = 1 }} }}]\n"
        )
    };
    mistakes(&repeat("times_max = 3\n"), &[]);
    mistakes(&repeat(""), &["2:1: step `l` has no `times_max`; add `times_max = …`"]);
    mistakes(&repeat("times_max = 21\n"), &["5:13: `times_max` must be a whole number from 1 to 20"]);
    mistakes(
        "[[steps]]\nid = \"b\"\nkind = \"compute\"\nwith = { x = \"loop.iteration\" }\n",
        &["5:15: `loop` is only known inside a loop"],
    );
}

#[test]
fn inputs_and_data_are_checked() {
    mistakes(
        &format!(
            "[inputs]\na = {{ type = \"txt\" }}\nb = {{ type = \"number\", default = \"1\" }}\nc = {{ type = \"list\", required = true, default = [] }}\n{STEP}"
        ),
        &[
            "3:14: `txt` is no type of input; did you mean `text`?",
            "4:34: the default of `b` is no number",
            "5:49: `c` is required, so its default is never used; drop one of the two",
        ],
    );
    mistakes(
        "[data]\nlimit = 3\n[[steps]]\nid = \"b\"\nkind = \"check\"\ntext = \"'t'\"\nrules = { graphemes_mx = \"data.limt\" }\n",
        &[
            "8:11: there is no rule `graphemes_mx`; did you mean `graphemes_max`?",
            "8:27: [data] has no `limt`; did you mean `limit`?",
        ],
    );
}

#[test]
fn mistakes_of_syntax_come_alone() {
    mistakes("[[steps]\nid = \"a\"\n", &["2:9: unclosed array table, expected `]`"]);
}

#[test]
fn steps_stand_only_so_deep() {
    let mut step = "{ id = \"a\", kind = \"compute\", with = {} }".to_owned();
    for level in 0..=DEPTH_MAX {
        step = format!("{{ id = \"s{level}\", kind = \"sequence\", steps = [{step}] }}");
    }
    let errors = check("w.toml", &format!("name = \"t\"\nsteps = [{step}]\n"), &known()).unwrap_err();
    assert!(errors[0].message.contains("deep"), "{errors:?}");
}

#[test]
fn a_version_is_the_hash_of_the_content_alone() {
    let plain = workflow(&format!("name = \"t\"\n{STEP}"));
    let dressed = workflow(&format!("# A comment.\n{STEP}").replace("[[steps]]", "name = 't'\n\n[[steps]]"));
    assert_eq!(plain.version(), dressed.version());
    let other = workflow(&format!("name = \"t\"\n{STEP}").replace("x = 1", "x = 2"));
    assert_ne!(plain.version(), other.version());
    let stored: Workflow = serde_json::from_str(&serde_json::to_string(&plain).unwrap()).unwrap();
    assert_eq!(stored.version(), plain.version());
}

proptest::proptest! {
    #[test]
    fn no_text_makes_checking_panic(body in "[\\[\\]{}a-z=\"'\n .,%|é0-9_]{0,200}") {
        let _ = check("w.toml", &format!("name = \"t\"\n[[steps]]\nid = \"a\"\nkind = \"approve\"\nwhat = \"\"\"{body}"), &known());
        let _ = check("w.toml", &format!("name = \"t\"\n[[steps]]\nid = \"a\"\nkind = \"approve\"\nwhat = \"\"\"{body}\"\"\""), &known());
        let _ = check("w.toml", &body, &known());
    }
}
