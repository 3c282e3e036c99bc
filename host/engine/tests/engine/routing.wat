;; An immortal without the SDK: a method `go`, which takes nothing, and a route of it by POST at PATH, which has eight bytes.
(component
  (import "ambrosia:runtime/description@0.2.0" (instance $description
    (type $kind' (enum "update" "query" "raw"))
    (export "kind" (type $kind (eq $kind')))
    (type $argument' (record (field "name" string) (field "type" string)))
    (export "argument" (type $argument (eq $argument')))
    (type $method' (record
      (field "id" u32) (field "name" string) (field "kind" $kind) (field "arguments" (list $argument))
      (field "result" string) (field "docs" string) (field "formerly" (list string))))
    (export "method" (type (eq $method')))))
  (alias export $description "method" (type $method))
  (core module $main
    (memory (export "memory") 1)
    (data (i32.const 0) "\40\00\00\00\01\00\00\00\80\00\00\00\01\00\00\00")
    (data (i32.const 64) "\4b\77\20\42\00\01\00\00\02\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\04\01\00\00\01\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00")
    (data (i32.const 128) "\4b\77\20\42\01\00\00\00\10\01\00\00\08\00\00\00")
    (data (i32.const 256) "go") (data (i32.const 260) "_") (data (i32.const 272) "/go/PATH")
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
    (func (export "deliver") (param i32 i32) (result i32) (i32.const 32))
    (func (export "describe") (result i32) (i32.const 0))
    (func (export "routes") (result i32) (i32.const 8)))
  (core instance $main (instantiate $main))
  (alias core export $main "memory" (core memory $memory))
  (alias core export $main "realloc" (core func $realloc))
  (func (export "deliver") (param "runs" (list u8)) (result (list u8))
    (canon lift (core func $main "deliver") (memory $memory) (realloc $realloc)))
  (func (export "describe") (result (list $method))
    (canon lift (core func $main "describe") (memory $memory)))

  (type $verb (enum "get" "post" "put" "patch" "delete"))
  (type $route (record (field "method" u32) (field "verb" $verb) (field "path" string)))
  (func $routes (result (list $route)) (canon lift (core func $main "routes") (memory $memory)))
  ;; Types of what an instance exports are to have names, which takes a component around it.
  (component $routing
    (type $verb (enum "get" "post" "put" "patch" "delete"))
    (import "verb" (type $named-verb (eq $verb)))
    (type $route (record (field "method" u32) (field "verb" $named-verb) (field "path" string)))
    (import "route" (type $named-route (eq $route)))
    (import "routes" (func $routes (result (list $named-route))))
    (export $told-verb "verb" (type $verb))
    (type $told-route' (record (field "method" u32) (field "verb" $told-verb) (field "path" string)))
    (export $told-route "route" (type $told-route'))
    (export "routes" (func $routes) (func (result (list $told-route)))))
  (instance $routing (instantiate $routing
    (with "verb" (type $verb)) (with "route" (type $route)) (with "routes" (func $routes))))
  (export "ambrosia:runtime/routing@0.2.0" (instance $routing)))
