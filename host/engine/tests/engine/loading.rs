//! What can be loaded, and what is said of the rest.

use crate::{
    ENGINE, genesis,
    guests::{ECHO, Wat},
    module,
};
use ambrosia_core::MethodId;
use ambrosia_engine::ModuleError;
use ambrosia_methods::Method;

fn error(bytes: &[u8]) -> ModuleError {
    ENGINE.load(bytes).err().expect("this is no immortal")
}

fn error_of_text(text: &str) -> ModuleError {
    error(&wat::parse_str(text).expect("the text is valid"))
}

/// The kit with something changed.
fn changed(from: &str, to: &str) -> ModuleError {
    let kit = include_str!("kit.wat").replace("DELIVER", ECHO).replace("DESCRIBE", "(i32.const 8)").replace("MORE", "");
    assert!(kit.contains(from));
    error_of_text(&kit.replace(from, to))
}

#[test]
fn bytes_that_are_not_wasm() {
    let error = error(b"#!/bin/sh");
    assert!(matches!(error, ModuleError::NotAComponent));
    assert!(error.to_string().contains("wasm32-wasip2"));
}

#[test]
fn a_core_module() {
    let error = error_of_text("(module)");
    assert!(matches!(error, ModuleError::CoreModule));
    assert!(error.to_string().contains("wasm32-wasip2"));
}

#[test]
fn a_component_that_exports_nothing() {
    let error = error_of_text("(component)");
    assert!(matches!(&error, ModuleError::NoExport(names) if names == &["deliver", "describe"]), "{error}");
}

#[test]
fn an_export_of_another_type() {
    let error = changed(
        r#"(func (export "deliver") (param "runs" (list u8)) (result (list u8))"#,
        r#"(func (export "deliver") (param "runs" (list u8)) (result string)"#,
    );
    assert!(matches!(&error, ModuleError::WrongExport { name: "deliver", .. }), "{error}");
}

#[test]
fn imports_that_the_host_does_not_offer_are_all_listed() {
    let kit = include_str!("kit.wat").replace("DELIVER", ECHO).replace("DESCRIBE", "(i32.const 8)").replace("MORE", "");
    let more = r#"
      (import "wasi:keyvalue/store@0.2.6" (instance (export "bucket" (type (sub resource)))))
      (import "wasi:sockets/tcp@0.2.6" (instance (export "connect" (func))))
      (import "wasi:http/types@0.2.6" (instance (type (enum "a")) (export "kind" (type (eq 0)))))
      (import "wasi:cli/environment@0.2.6" (instance (export "get-secrets" (func))))
      (import "wasi:clocks/wall-clock@0.4.0" (instance (export "now" (func (result u64)))))
      (import "print" (func))
      (core module $libc"#;
    let error = error_of_text(&kit.replacen("(core module $libc", more, 1));
    let ModuleError::MissingImports(names) = &error else { panic!("{error}") };
    let expected = [
        "wasi:keyvalue/store@0.2.6",
        "wasi:sockets/tcp@0.2.6#connect",
        "wasi:cli/environment@0.2.6#get-secrets",
        "wasi:clocks/wall-clock@0.4.0",
        "print",
    ];
    assert_eq!(names, &expected);
    assert!(error.to_string().contains("wasi:sockets/tcp@0.2.6#connect, wasi:cli"));
}

#[test]
fn imports_are_checked_before_anything_is_compiled() {
    // Its code does not validate, which only a compiler finds.
    let kit = include_str!("kit.wat").replace("DELIVER", "").replace("DESCRIBE", "(i32.const 8)").replace("MORE", "");
    assert!(matches!(error_of_text(&kit), ModuleError::Compile(_)));
    let more = r#"(import "print" (func)) (core module $libc"#;
    let error = error_of_text(&kit.replacen("(core module $libc", more, 1));
    assert!(matches!(&error, ModuleError::MissingImports(names) if names == &["print"]), "{error}");
    let error = error_of_text(&kit.replace("ambrosia:runtime/host@0.1.0", "ambrosia:runtime/host@0.9.0"));
    assert!(matches!(error, ModuleError::WrongVersion { .. }), "{error}");
}

#[test]
fn an_import_of_another_type() {
    let error = changed(r#"(export "now" (func (result $datetime)))"#, r#"(export "now" (func (result $datetime')))"#);
    assert!(matches!(error, ModuleError::Compile(_)), "an unnamed record is not valid: {error}");
    let error = changed(
        r#"(export "exit" (func (param "status" (result))))"#,
        r#"(export "exit" (func (param "status" u32)))"#,
    );
    assert!(matches!(error, ModuleError::WrongImport(_)), "{error}");
    assert!(error.to_string().contains("wasi:cli/exit"), "{error}");
}

#[test]
fn a_component_for_another_version_of_the_host() {
    for version in ["0.3.0", "1.0.0"] {
        let error = changed("ambrosia:runtime/host@0.1.0", &format!("ambrosia:runtime/host@{version}"));
        assert!(matches!(error, ModuleError::WrongVersion { .. }), "{error}");
        assert!(
            error.to_string().contains(&format!("host@{version}, and this host offers the versions 0.1.0 and 0.2.0"))
        );
    }
}

#[test]
fn a_later_patch_of_an_interface_fits() {
    let kit = include_str!("kit.wat").replace("DELIVER", ECHO).replace("DESCRIBE", "(i32.const 8)").replace("MORE", "");
    let later = wat::parse_str(kit.replace("@0.2.6", "@0.2.99").replace("host@0.1.0", "host@0.1.7")).expect("valid");
    assert!(ENGINE.load(&later).is_ok());
}

#[test]
fn a_damaged_component() {
    let bytes = Wat::deliver(ECHO).bytes();
    let error = error(&bytes[..bytes.len() / 2]);
    assert!(matches!(error, ModuleError::Compile(_)), "{error}");
}

#[test]
fn features_of_wasm_that_are_switched_off() {
    for module in ["(memory i64 1)", "(memory 1 1 shared)", "(tag)", "(type (struct))"] {
        let error = changed("(core module $libc", &format!("(core module {module}) (core module $libc"));
        assert!(matches!(error, ModuleError::Compile(_)), "{module}: {error}");
    }
}

#[test]
fn a_trap_while_the_component_starts() {
    let wat = Wat::deliver(ECHO).more("(func $start (unreachable)) (start $start)");
    let error = module(&wat).instantiate(&genesis(1)).err().expect("it traps");
    assert!(matches!(error, ModuleError::Instantiate(_)), "{error}");
    assert!(matches!(module(&wat).methods(), Err(ModuleError::Instantiate(_))));
}

/// Fields of a list of `(id, name)`, each with the arguments `to` and `by`, and the body of `describe` for it.
fn described(methods: &[(MethodId, &str)]) -> Wat {
    let mut records = Vec::new();
    let mut texts = String::new();
    for (id, name) in methods {
        let text_at = 300 + texts.len() as u32;
        texts.push_str(name);
        for field in [id.0, text_at, name.len() as u32, 200, 2, 1] {
            records.extend(field.to_le_bytes());
        }
    }
    let escaped: String = records.iter().map(|byte| format!("\\{byte:02x}")).collect();
    let arguments = r"\f0\00\00\00\02\00\00\00\f2\00\00\00\02\00\00\00";
    let data = format!(
        r#"(data (i32.const 32) "{escaped}") (data (i32.const 200) "{arguments}")
           (data (i32.const 240) "toby") (data (i32.const 300) "{texts}")"#
    );
    let count = methods.len();
    let body = format!(
        "(i32.store (i32.const 8) (i32.const 32)) (i32.store (i32.const 12) (i32.const {count})) (i32.const 8)"
    );
    Wat::deliver(ECHO).describe(&body).more(&data)
}

#[test]
fn methods_are_listed() {
    let methods = module(&described(&[(MethodId::of("pay"), "pay"), (MethodId::of("ask"), "ask")])).methods();
    let method = |name: &str| Method::without_types(name.into(), vec!["to".into(), "by".into()], true);
    assert_eq!(methods.expect("two methods"), [method("pay"), method("ask")]);
    assert_eq!(module(&Wat::deliver(ECHO)).methods().expect("no method"), []);
}

#[test]
fn methods_that_can_not_be_told_apart() {
    let error = module(&described(&[(MethodId::of("pay"), "pay"), (MethodId::of("pay"), "pay")])).methods();
    assert!(matches!(error, Err(ModuleError::DuplicateMethod { .. })));
    let error = module(&described(&[(MethodId(7), "pay")])).methods();
    assert!(matches!(error, Err(ModuleError::WrongMethodId { found: MethodId(7), .. })));
}

#[test]
fn a_trap_while_the_methods_are_listed() {
    let error = module(&Wat::deliver(ECHO).describe("(unreachable)")).methods().expect_err("it traps");
    assert!(matches!(error, ModuleError::Describe(_)), "{error}");
}
