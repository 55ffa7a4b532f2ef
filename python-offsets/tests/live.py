# Checks a Layout against the interpreter that runs this, by reading its own memory with ctypes.
#
# Argument "table": prints sys.hexversion and, from 3.13 on, the first bytes of _PyRuntime in hex.
# Argument "check": reads "group.field value" lines from standard input and prints each fact that
# the offsets get wrong, then the number of facts. Valid on 2.7 and 3.x.
from __future__ import print_function
import binascii
import ctypes
import gc
import sys
import threading

try:
    from threading import get_ident
except ImportError:
    from thread import get_ident

VERSION = sys.version_info[:2]


def runtime():
    return ctypes.addressof(ctypes.c_char.in_dll(ctypes.pythonapi, "_PyRuntime"))


if sys.argv[1] == "table":
    print(sys.hexversion)
    if VERSION >= (3, 13):
        print(binascii.hexlify(ctypes.string_at(runtime(), int(sys.argv[2]))).decode())
    sys.exit()

AT = {}
for line in sys.stdin:
    name, value = line.split()
    AT[name] = int(value)
TAGS = ~AT.get("semantics.tag_mask", 0)
facts = []


def fact(name, holds):
    facts.append((name, bool(holds)))


def read(kind, base, field):
    return kind.from_address(base + AT[field]).value


def pointer(base, field):
    return read(ctypes.c_void_p, base, field)


def size(base, field):
    return read(ctypes.c_ssize_t, base, field)


def integer(base, field):
    return read(ctypes.c_int, base, field)


def byte(base, field):
    return read(ctypes.c_ubyte, base, field)


# States.
ctypes.pythonapi.PyThreadState_Get.restype = ctypes.c_void_p
thread = ctypes.pythonapi.PyThreadState_Get()
interpreter = pointer(thread, "thread_state.interp")
fact("imports_modules", pointer(interpreter, "interpreter_state.imports_modules") == id(sys.modules))
fact("threads_head", pointer(interpreter, "interpreter_state.threads_head") == thread)
fact("next thread", not pointer(thread, "thread_state.next"))
fact("next interpreter", not pointer(interpreter, "interpreter_state.next"))
fact("thread_id", pointer(thread, "thread_state.thread_id") == get_ident())
if "runtime_state.interpreters_head" in AT:
    fact("interpreters_head", pointer(runtime(), "runtime_state.interpreters_head") == interpreter)
    fact("main_thread", pointer(runtime(), "runtime_state.main_thread") == get_ident())
    fact("finalizing", not pointer(runtime(), "runtime_state.finalizing"))
    fact("interpreter id", size(interpreter, "interpreter_state.id") == 0)
if "runtime_state.tstate_current" in AT:
    fact("tstate_current", pointer(runtime(), "runtime_state.tstate_current") == thread)
if "interpreter_state.ceval_gil" in AT and not AT.get("semantics.free_threaded"):
    gil = pointer(interpreter, "interpreter_state.ceval_gil")
    fact("locked", integer(gil, "gil_runtime_state.locked") == 1)
    fact("last_holder", pointer(gil, "gil_runtime_state.last_holder") == thread)
if "thread_state.native_thread_id" in AT:
    native = pointer(thread, "thread_state.native_thread_id")
    fact("native_thread_id", native == threading.get_native_id())
if "gc.collecting" in AT:
    if "runtime_state.gc" in AT:
        gc_state = runtime() + AT["runtime_state.gc"]
    else:
        gc_state = interpreter + AT["interpreter_state.gc"]
    seen = []
    fact("not collecting", integer(gc_state, "gc.collecting") == 0)
    gc.callbacks.append(lambda *_: seen.append(integer(gc_state, "gc.collecting")))
    gc.collect()
    gc.callbacks.pop()
    fact("collecting", seen == [1, 1])


# Frames and code.
def called(first, second=2):
    frame = pointer(thread, "thread_state.current_frame")
    if "thread_state.cframe_current_frame" in AT:
        frame = pointer(frame, "thread_state.cframe_current_frame")

    def code_of(frame):
        return pointer(frame, "interpreter_frame.executable") & TAGS

    for _ in range(9):  # The helpers called here have frames of their own.
        if code_of(frame) == id(called.__code__):
            break
        frame = pointer(frame, "interpreter_frame.previous")
    fact("frame", code_of(frame) == id(called.__code__))
    fact("localsplus", pointer(frame, "interpreter_frame.localsplus") & TAGS == id(first))
    if "interpreter_frame.owner" in AT:
        fact("owner", byte(frame, "interpreter_frame.owner") == 0)
    if "code_object.co_code_adaptive" in AT:
        distance = pointer(frame, "interpreter_frame.instr_ptr") - code_of(frame)
        fact("instr_ptr", AT["code_object.co_code_adaptive"] < distance < 4000)
    caller = pointer(frame, "interpreter_frame.previous")
    fact("previous", code_of(caller) == id(sys._getframe(1).f_code))


called(object())
code = called.__code__
fact("name", pointer(id(code), "code_object.name") == id(code.co_name))
fact("filename", pointer(id(code), "code_object.filename") == id(code.co_filename))
fact("firstlineno", integer(id(code), "code_object.firstlineno") == code.co_firstlineno)
fact("argcount", integer(id(code), "code_object.argcount") == 2)
fact("flags", integer(id(code), "code_object.flags") == code.co_flags)
if "code_object.kwonlyargcount" in AT:
    fact("kwonlyargcount", integer(id(code), "code_object.kwonlyargcount") == 0)
if "code_object.qualname" in AT:
    fact("qualname", pointer(id(code), "code_object.qualname") == id(code.co_qualname))
if "code_object.firsttraceable" in AT:
    fact("firsttraceable", 0 <= integer(id(code), "code_object.firsttraceable") < 9)
if "code_object.varnames" in AT:
    fact("varnames", pointer(id(code), "code_object.varnames") == id(code.co_varnames))


# Types and instances.
class Class(object):
    def __init__(self):
        self.first = ctypes
        self.second = sys


instance = Class()
fact("ob_type", pointer(id(instance), "pyobject.ob_type") == id(Class))
tp_name = ctypes.c_char_p.from_address(id(Class) + AT["type_object.tp_name"]).value
fact("tp_name", tp_name == b"Class")
fact("tp_basicsize", size(id(Class), "type_object.tp_basicsize") == Class.__basicsize__)
fact("tp_dictoffset", size(id(Class), "type_object.tp_dictoffset") == Class.__dictoffset__)
fact("tp_flags", size(id(Class), "type_object.tp_flags") == Class.__flags__)
values = None
AT["nothing"] = 0
if "semantics.values_pointer" in AT:
    values = pointer(id(instance), "semantics.values_pointer")
elif "semantics.dict_or_values" in AT:
    word = pointer(id(instance), "semantics.dict_or_values")
    fact("values bit", word & 1)
    values = word + 1  # The pointer was stored less one.
elif "semantics.inline_values" in AT:
    values = id(instance) + Class.__basicsize__
    fact("values_valid", byte(values, "dict_keys.values_valid") == 1)
if values is not None:
    fact("values", pointer(values, "dict_keys.values") == id(ctypes))
    keys = pointer(id(Class), "type_object.ht_cached_keys")
    fact("split keys", byte(keys, "dict_keys.dk_kind") == 2)
    if "semantics.managed_dict" in AT:
        fact("no managed dict", not pointer(id(instance), "semantics.managed_dict"))

# The counters of code objects.
kept = [compile("1", "x", "eval"), compile("2", "x", "eval")]
if "code_object.co_version" in AT:
    versions = [integer(id(code), "code_object.co_version") for code in kept]
    fact("co_version", versions[1] == versions[0] + 1)
    if "interpreter_state.next_func_version" in AT:
        counter = integer(interpreter, "interpreter_state.next_func_version")
        fact("next_func_version", counter == versions[1] + 1)
if "interpreter_state.code_object_generation" in AT:
    before = size(interpreter, "interpreter_state.code_object_generation")
    del code, kept[:]
    after = size(interpreter, "interpreter_state.code_object_generation")
    fact("code_object_generation", after == before + 2)

# Containers.
table = dict(("key%d" % i, object()) for i in range(9))
fact("ma_used", size(id(table), "dict_object.ma_used") == 9)
keys = pointer(id(table), "dict_object.ma_keys")
if "dict_keys.dk_log2_index_bytes" in AT:
    entries = AT["dict_keys.dk_indices"] + (1 << byte(keys, "dict_keys.dk_log2_index_bytes"))
    AT["first key"], AT["first value"] = entries, entries + 8
    if byte(keys, "dict_keys.dk_kind") == 0:
        AT["first key"], AT["first value"] = entries + 8, entries + 16
elif "dict_keys.dk_nentries" in AT:
    entries = AT["dict_keys.dk_indices"] + size(keys, "dict_keys.dk_size")
    AT["first key"], AT["first value"] = entries + 8, entries + 16
if "dict_keys.dk_nentries" in AT:
    fact("dk_nentries", size(keys, "dict_keys.dk_nentries") == 9)
    fact("key", pointer(keys, "first key") == id(list(table)[0]))
    fact("value", pointer(keys, "first value") == id(table["key0"]))
if "dict_object.ma_mask" in AT:
    fact("ma_mask", size(id(table), "dict_object.ma_mask") == 31)
numbers = set([1, 2, 3])
fact("used", size(id(numbers), "set_object.used") == 3)
fact("mask", size(id(numbers), "set_object.mask") == 7)
items = [object(), object()]
fact("list", size(id(items), "list_object.ob_size") == 2)
fact("list items", pointer(pointer(id(items), "list_object.ob_item"), "nothing") == id(items[0]))
items = tuple(items)
fact("tuple", size(id(items), "tuple_object.ob_size") == 2)
fact("tuple items", pointer(id(items), "tuple_object.ob_item") == id(items[0]))
fact("md_dict", pointer(id(sys), "module_object.md_dict") == id(sys.__dict__))

# Scalars and text.
pi = 3.25
fact("ob_fval", read(ctypes.c_double, id(pi), "float_object.ob_fval") == 3.25)
big = 5 + (7 << 30)
AT["second digit"] = AT["long_object.ob_digit"] + 4
if VERSION >= (3,):
    fact("digits", integer(id(big), "long_object.ob_digit") == 5 and integer(id(big), "second digit") == 7)
else:
    fact("ob_ival", size(id(77), "long_object.ob_ival") == 77)
data = b"bytes"
fact("bytes", size(id(data), "bytes_object.ob_size") == 5)
fact("ob_sval", ctypes.string_at(id(data) + AT["bytes_object.ob_sval"]) == data)
text = u"text"
fact("length", size(id(text), "unicode_object.length") == 4)
if "unicode_object.state" in AT:

    def state(text, bit):
        return integer(id(text), "unicode_object.state") >> AT["semantics." + bit]

    wide = u"\u0416\u0437"
    start = AT["unicode_object.asciiobject_size"]
    fact("ascii", ctypes.string_at(id(text) + start) == b"text")
    fact("ascii bits", state(text, "ascii_bit") & 1 and state(text, "compact_bit") & 1)
    start = AT["unicode_object.compactunicodeobject_size"]
    fact("two bytes", ctypes.string_at(id(wide) + start, 4) == wide.encode("utf-16-le"))
    fact("kind", state(text, "kind_shift") & 7 == 1 and state(wide, "kind_shift") & 7 == 2)
    fact("not ascii", not state(wide, "ascii_bit") & 1)

for name, holds in facts:
    if not holds:
        print("wrong:", name)
print(len(facts))
