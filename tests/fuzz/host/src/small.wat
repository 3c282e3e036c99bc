;; The smallest immortal. DELIVER stands for the body of `deliver`, MORE for further fields of the core module.
(component
  (import "ambrosia:runtime/description@0.1.0" (instance $description
    (type $method (record
      (field "id" u32) (field "name" string) (field "arguments" (list string)) (field "message-pack" bool)))
    (export "method" (type (eq $method)))))
  (alias export $description "method" (type $method))
  (core module $main
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 64))
    (func $deliver (export "deliver") (param i32 i32) (result i32) DELIVER)
    (func (export "describe") (result i32) (i32.const 0))
    MORE)
  (core instance $main (instantiate $main))
  (func (export "deliver") (param "runs" (list u8)) (result (list u8))
    (canon lift (core func $main "deliver") (memory (core memory $main "memory")) (realloc (core func $main "realloc"))))
  (func (export "describe") (result (list $method))
    (canon lift (core func $main "describe") (memory (core memory $main "memory")))))
