"""Has gdb show what is in the memory of a guest of `ambrosia-host debug --native`.

A pointer of a guest is a number, the distance from the beginning of its memory, and gdb knows it as
`WebAssemblyPtrWrapper<T>`. Here it is shown with what it points to; `$guest(pointer)` is a pointer that
gdb can follow, as in `print $guest(self)->total`. gdb stops once the guest is loaded, before the delivery
begins, so that breakpoints can be set. Tried with gdb 13.
"""

import gdb

# Without the full debug information of the program gdb knows no more of it than the last part.
LOADED = ("ambrosia_host::travel::native::guest_is_loaded", "guest_is_loaded")
WRAPPER = "WebAssemblyPtrWrapper<"
# How much of what a pointer points to is shown.
DEPTH = 4
ELEMENTS = 8


def memory_base():
    """Where the memory of the guest lies, told by the nearest frame of one; 0 if there is none."""
    frame = gdb.selected_frame()
    while frame is not None:
        try:
            return int(frame.read_var("__vmctx").dereference()["memory"])
        except (ValueError, gdb.error):
            frame = frame.older()
    return 0


def is_guest_pointer(value):
    return str(value.type.strip_typedefs().name or "").startswith(WRAPPER)


def native_pointer(value):
    """The pointer of the guest as one that gdb can follow; None if it is null, or there is no guest."""
    at, base = int(value["__ptr"]), memory_base()
    if not at or not base:
        return None
    return gdb.Value(base + at).cast(value.type.template_argument(0).pointer())


class GuestPointer:
    """Prints a pointer, and what it points to."""

    def __init__(self, value):
        self.value = value

    def to_string(self):
        shown = "guest %#x" % int(self.value["__ptr"])
        try:
            pointer = native_pointer(self.value)
            if pointer is None:
                return shown
            target = pointer.dereference()
            return "%s -> %s" % (shown, target.format_string(max_depth=DEPTH, max_elements=ELEMENTS))
        except (gdb.error, RuntimeError) as error:
            return "%s (%s)" % (shown, error)


class Guest(gdb.Function):
    """$guest(POINTER): a pointer of the guest as one that gdb can follow."""

    def __init__(self):
        super().__init__("guest")

    def invoke(self, value):
        if not is_guest_pointer(value):
            raise gdb.GdbError("$guest needs a pointer of the guest, and this is of type %s" % value.type)
        pointer = native_pointer(value)
        if pointer is None:
            raise gdb.GdbError("the pointer is null, or no frame of the guest is on the stack")
        return pointer


def stop_when_loaded():
    for name in LOADED:
        try:
            gdb.decode_line(name)
        except gdb.error:
            continue
        gdb.Breakpoint(name, temporary=True).silent = True
        return
    print("ambrosia: this program has no symbols, so gdb can't stop before the delivery: set breakpoints now, and `run`")


Guest()
gdb.pretty_printers.append(lambda value: GuestPointer(value) if is_guest_pointer(value) else None)
# The code of the guest comes late, and threads of the compiler come and go before.
gdb.execute("set breakpoint pending on")
gdb.execute("set print thread-events off")
stop_when_loaded()
