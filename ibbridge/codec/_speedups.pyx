# cython: language_level=3, binding=False, boundscheck=True, wraparound=False
"""Compiled reader of flat messages: straight from bytes to msgpack, for plain spellings only.

This module must not know single messages: a `Plan` says which fields are on the wire and which values are published
(`speedups.py` makes the plan from a declaration). A payload that is not plain, or not exactly as planned, is left to
pure Python: a number with blanks, an escape, a surplus field, a body cut off. So only pure Python decides what is valid.

The input is hostile. Every read is behind a comparison with the end of the payload, every write behind one with the end
of the buffer; nothing is kept between two payloads.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.conversion cimport PyOS_string_to_double
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy

cdef extern from *:
    """
    #include <float.h>
    #if defined(__FAST_MATH__)
    #error "doubles must be those of IEEE 754"
    #endif
    /* Powers of ten that a double holds exactly. */
    static const double POWERS[] = {
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
        1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    /* 1 if a division of doubles is rounded once. */
    #if defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD == 0
    #define ROUNDED_ONCE 1
    #else
    #define ROUNDED_ONCE 0
    #endif
    """
    const double POWERS[23]
    const bint ROUNDED_ONCE

cdef enum:
    MOST = 16  # sources or values of a message
    MOST_FLAGS = 4
    MOST_MASKS = 16  # 1 << MOST_FLAGS
    MOST_INLINE = 4
    MOST_NAMED = 8  # values that a condition names
    LONGEST_INT = 18  # digits that fit into 64 bits whatever they are
    LONGEST_EXACT = 15  # digits that a double holds exactly
    LONGEST_POWER = 22
    LONGEST_NUMBER = 63
    CAPACITY = 4096  # a longer message is left to pure Python, which is then no slower

cdef enum Kind:
    SKIP, INT32, INT64, REAL, NEGATIVE, DECIMAL, STRICT, STR, ESCAPED, BOOL, MASK, FLAGS

cdef enum State:
    ABSENT, UNSET, THERE

cdef enum Wire:
    VARINT = 0
    FIXED64 = 1
    LENGTH = 2
    FIXED32 = 5
    NOWHERE = 8

INTERFACE = 3  # see compiled.py

KINDS = {
    "skip": SKIP,  # on the wire, and ignored
    "int32": INT32,
    "int64": INT64,
    "real": REAL,
    "negative": NEGATIVE,  # a double that is unset below zero
    "decimal": DECIMAL,  # a text that is published as a double
    "strict": STRICT,  # as decimal, but no text means unset
    "str": STR,
    "escaped": ESCAPED,  # a text that may have escapes in it
    "bool": BOOL,
    "mask": MASK,
    "flags": FLAGS,  # as mask, but in protobuf a message of bools
}
"""Kinds of values, by their names in plans."""

cdef struct Span:
    const uint8_t* at
    Py_ssize_t size

cdef struct Source:  # one text field, or one field of a protobuf message
    Kind kind
    Wire wire
    int level  # protobuf: 0 the message itself, else one of the messages in it
    uint32_t number  # protobuf
    int64_t unset  # integer that means unset
    double mark  # double that means unset
    Span absent
    Span masks[MOST_MASKS]

cdef struct Condition:  # a source has one of these values
    int source  # -1: none
    bint absent  # the condition holds where the source is absent
    int count
    int64_t named[MOST_NAMED]

cdef struct Value:  # published value
    int source
    Span fixed  # bytes before the value
    Span default
    Condition only

cdef struct Slot:  # value of a source in this payload
    State state
    int64_t number
    double real
    Span text

cdef struct Out:
    uint8_t* at
    uint8_t* end


# -- plans -----------------------------------------------------------------------------------------------------------


@cython.final
@cython.no_gc  # a plan holds only texts and numbers, and the spans below point into them
cdef class Plan:
    """Plan of one message in one encoding. `speedups.Draft` describes the arguments."""

    cdef:
        object name, key_absent, identity_absent
        list kept  # the bytes that spans point into
        bint proto
        int source_count, value_count, inline_count, key, identity, unset_count
        uint32_t inlines[MOST_INLINE]
        Source sources[MOST]
        Value values[MOST]
        Span tail
        Span unset[MOST_NAMED]
        Condition kind
        double greatest

    def __cinit__(self, plan):
        if max(len(plan.sources), len(plan.values)) > MOST or len(plan.inlines) > MOST_INLINE:
            raise ValueError("too many fields")
        if len(plan.unset_decimals) > MOST_NAMED:
            raise ValueError("too many texts")
        self.kept = []
        self.name, self.proto, self.greatest = plan.name, plan.proto, plan.greatest
        self.source_count, self.value_count = len(plan.sources), len(plan.values)
        self.inline_count, self.unset_count = len(plan.inlines), len(plan.unset_decimals)
        for i, number in enumerate(plan.inlines):
            self.inlines[i] = number
        for i, text in enumerate(plan.unset_decimals):
            self.unset[i] = self.keep(text)
        for i, source in enumerate(plan.sources):
            self.set_source(&self.sources[i], source)
        for i, value in enumerate(plan.values):
            self.values[i].source = self.place(value.source)
            self.values[i].fixed = self.keep(value.fixed)
            self.values[i].default = self.keep(value.default)
            self.values[i].only = self.condition(value.only)
        self.tail = self.keep(plan.tail)
        self.kind = self.condition(plan.kind)
        self.key, self.key_absent = self.place(plan.key[0]), plan.key[1]
        self.identity = -1 if plan.identity[0] is None else self.place(plan.identity[0])
        self.identity_absent = plan.identity[1]
        for place in (self.key, self.identity):
            if place >= 0 and self.sources[place].kind not in (INT32, INT64):
                raise ValueError("a key is an integer")

    cdef int set_source(self, Source* source, about) except -1:
        source.kind = KINDS[about.kind]
        source.wire = wire_of(source.kind) if self.proto else NOWHERE
        source.level, source.number = about.level, about.number
        if source.kind in (INT32, INT64):
            source.unset = about.unset
        else:
            source.mark = self.greatest if about.unset is None else about.unset
        source.absent = self.keep(about.absent)
        if source.kind in (MASK, FLAGS):
            if len(about.masks) != MOST_MASKS:
                raise ValueError("a mask needs one packed map for each combination of flags")
            for i, packed in enumerate(about.masks):
                source.masks[i] = self.keep(packed)
        return 0

    cdef int place(self, index) except -2:
        if not 0 <= index < self.source_count:
            raise ValueError("no such source")
        return index

    cdef Span keep(self, bytes text) except *:
        cdef Span span
        self.kept.append(text)
        span.at, span.size = <const uint8_t*>PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text)
        return span

    cdef Condition condition(self, about) except *:
        cdef Condition condition
        condition.source, condition.absent, condition.count = -1, False, 0
        if about is not None:
            if len(about.named) > MOST_NAMED:
                raise ValueError("too many values")
            condition.source, condition.absent = self.place(about.source), about.absent
            condition.count = len(about.named)
            if self.sources[condition.source].kind not in (INT32, INT64):
                raise ValueError("a condition is about an integer")
            for i, number in enumerate(about.named):
                condition.named[i] = number
        return condition


cdef Wire wire_of(Kind kind) noexcept:
    if kind in (INT32, INT64, BOOL, MASK):
        return VARINT
    if kind in (REAL, NEGATIVE):
        return FIXED64
    return LENGTH


# -- single values ---------------------------------------------------------------------------------------------------


cdef inline bint is_digit(uint8_t char) noexcept:
    return 48 <= char <= 57


cdef bint to_int(Span text, int64_t* number) noexcept:
    """Read digits, perhaps behind a minus. Return False on any other text."""
    cdef Py_ssize_t i = 1 if text.size and text.at[0] == c"-" else 0
    cdef int64_t found = 0
    if not 0 < text.size - i <= LONGEST_INT:
        return False
    while i < text.size:
        if not is_digit(text.at[i]):
            return False
        found = found * 10 + (text.at[i] - 48)
        i += 1
    number[0] = -found if text.at[0] == c"-" else found
    return True


cdef bint to_real(Span text, double* real) except -1:
    """Read digits with a point or an exponent, perhaps behind a minus, as exactly the double that Python reads.

    Dividing two numbers that doubles hold exactly rounds once, as it must be; Python converts all other numbers. Return
    False on any other text.
    """
    cdef Py_ssize_t i = 1 if text.size and text.at[0] == c"-" else 0
    cdef Py_ssize_t first = i
    cdef Py_ssize_t point = -1
    cdef int digits = 0
    cdef uint64_t found = 0  # meaningless, and may wrap, once there are more digits than are exact
    if not 0 < text.size <= LONGEST_NUMBER:
        return False
    while i < text.size:
        if is_digit(text.at[i]):
            found = found * 10 + (text.at[i] - 48)
            digits += found != 0 or digits != 0
        elif text.at[i] == c"." and point < 0 and i > first:
            point = i
        else:
            break
        i += 1
    if i == first or point == i - 1:
        return False
    cdef Py_ssize_t scale = i - point - 1 if point >= 0 else 0
    if i == text.size and digits <= LONGEST_EXACT and scale <= LONGEST_POWER and ROUNDED_ONCE:
        real[0] = <double>found / POWERS[scale]
        if first:
            real[0] = -real[0]
        return True
    return (i == text.size or is_exponent(text, i)) and to_real_slowly(text, real)


cdef bint is_exponent(Span text, Py_ssize_t i) noexcept:
    """Return True if an exponent begins at `i` and ends the text."""
    if text.at[i] != c"e" and text.at[i] != c"E":
        return False
    i += 1
    if i < text.size and (text.at[i] == c"-" or text.at[i] == c"+"):
        i += 1
    if i == text.size:
        return False
    while i < text.size:
        if not is_digit(text.at[i]):
            return False
        i += 1
    return True


cdef bint to_real_slowly(Span text, double* real) except -1:
    cdef char copy[LONGEST_NUMBER + 1]
    if text.size > LONGEST_NUMBER:
        return False
    memcpy(copy, text.at, text.size)
    copy[text.size] = 0
    real[0] = PyOS_string_to_double(copy, NULL, NULL)
    return True


cdef bint is_text(Span text) except -1:
    """Return True if Python decodes the text as UTF-8."""
    cdef Py_ssize_t i = 0
    while i < text.size and text.at[i] < 128:
        i += 1
    if i == text.size:
        return True
    try:
        PyUnicode_DecodeUTF8(<const char*>text.at, text.size, "strict")
    except UnicodeDecodeError:
        return False
    return True


cdef bint to_decimal(Plan plan, Span text, Slot* slot) except -1:
    cdef int i
    for i in range(plan.unset_count):
        if plan.unset[i].size == text.size and memcmp(plan.unset[i].at, text.at, text.size) == 0:
            slot.state = UNSET
            return True
    slot.state = THERE
    return to_real(text, &slot.real)


cdef inline State state_of(Plan plan, Source* source, double real) noexcept:
    """Return UNSET for a double that means unset, else THERE."""
    if real == plan.greatest or real == source.mark or (source.kind == NEGATIVE and real < 0):
        return UNSET
    return THERE


# -- text ------------------------------------------------------------------------------------------------------------


cdef bint read_text(Plan plan, const uint8_t* at, const uint8_t* end, Slot* slots) except -1:
    """Read fields that end in a NUL. Return False unless there are exactly as many as sources, all plain."""
    cdef int i
    cdef Span text
    cdef const uint8_t* stop
    for i in range(plan.source_count):
        stop = <const uint8_t*>memchr(at, 0, end - at)
        if stop == NULL:
            return False
        text.at, text.size = at, stop - at
        if text.size == 0:
            slots[i].state = ABSENT
        elif not read_field(plan, &plan.sources[i], text, &slots[i]):
            return False
        at = stop + 1
    return at == end


cdef inline bint read_field(Plan plan, Source* source, Span text, Slot* slot) except -1:
    """Read one field that is not empty. Return False if it is not plain."""
    cdef Kind kind = source.kind
    slot.state = THERE
    if kind == INT32 or kind == INT64:
        if not to_int(text, &slot.number):
            return False
        if slot.number == source.unset:
            slot.state = UNSET
        return True
    if kind == REAL or kind == NEGATIVE:
        if not to_real(text, &slot.real):
            return False
        slot.state = state_of(plan, source, slot.real)
        return True
    if kind == DECIMAL:
        return to_decimal(plan, text, slot)
    if kind == STR or kind == ESCAPED:
        slot.text = text
        return is_text(text) and (kind == STR or memchr(text.at, c"\\", text.size) == NULL)
    if kind == MASK:  # the pure path reads unknown bits, and the number that means unset
        return to_int(text, &slot.number) and 0 <= slot.number < MOST_MASKS
    if kind == BOOL:
        slot.number = text.at[0] == c"1"
        return text.size == 1 and (text.at[0] == c"0" or text.at[0] == c"1")
    return kind == SKIP


# -- protobuf --------------------------------------------------------------------------------------------------------


cdef inline const uint8_t* read_varint(const uint8_t* at, const uint8_t* end, uint64_t* number) noexcept:
    """Return the place behind a varint, or NULL unless it is complete and has no more bytes than it needs."""
    cdef int shift = 0
    cdef uint64_t found = 0
    while at < end:
        found |= <uint64_t>(at[0] & 127) << shift
        if at[0] < 128:
            if (shift and at[0] == 0) or (shift == 63 and at[0] > 1):
                return NULL
            number[0] = found
            return at + 1
        at += 1
        shift += 7
        if shift > 63:
            return NULL
    return NULL


cdef bint read_proto(Plan plan, int level, const uint8_t* at, const uint8_t* end, Slot* slots) except -1:
    """Read one protobuf message: the plan's own, or (`level` above 0) one inside it. Return False if it is not plain.

    As protobuf requires, unknown fields are skipped and the last of several values wins. Not plain are an inner message
    that comes several times, which protobuf would merge, and an unknown field where several messages share an id.
    """
    cdef uint64_t key = 0, number = 0
    cdef int i, inline
    cdef int next = 0
    cdef uint32_t seen = 0
    cdef uint32_t field
    cdef Wire wire
    cdef Span text
    while at < end:
        at = read_varint(at, end, &key)
        if at == NULL or key < 8 or key > 0xffffffff:
            return False
        field, wire = key >> 3, <Wire>(key & 7)
        text.at, text.size = at, 0
        if wire == VARINT:
            at = read_varint(at, end, &number)
            if at == NULL:
                return False
        elif wire == FIXED64:
            text.size = 8
        elif wire == FIXED32:
            text.size = 4
        elif wire == LENGTH:
            at = read_varint(at, end, &number)
            if at == NULL or number > <uint64_t>(end - at):
                return False
            text.at, text.size = at, <Py_ssize_t>number
        else:
            return False
        if text.size > end - at:
            return False
        at += text.size
        i = find(plan, level, field, next)
        if i >= 0:
            if not read_value(&plan.sources[i], wire, number, text, &slots[i]):
                return False
            next = i + 1
            continue
        inline = find_inline(plan, field) if level == 0 else 0
        if inline == 0 and level == 0 and plan.kind.source >= 0:
            return False  # another message with this id may know the field
        if inline:
            if wire != LENGTH or seen >> inline & 1:
                return False
            seen |= <uint32_t>1 << inline
            if not read_proto(plan, inline, text.at, text.at + text.size, slots):
                return False
    return True


cdef inline int find(Plan plan, int level, uint32_t number, int next) noexcept:
    """Return the source with that number, or -1. Fields mostly come in order, so the search begins at `next`."""
    cdef int tried, i
    for tried in range(plan.source_count):
        i = next + tried
        if i >= plan.source_count:
            i -= plan.source_count
        if plan.sources[i].number == number and plan.sources[i].level == level:
            return i
    return -1


cdef inline int find_inline(Plan plan, uint32_t number) noexcept:
    """Return the level of the inner message with that field number, or 0."""
    cdef int i
    for i in range(plan.inline_count):
        if plan.inlines[i] == number:
            return i + 1
    return 0


cdef inline bint read_value(Source* source, Wire wire, uint64_t number, Span text, Slot* slot) except -1:
    """Store the `number` or `text` of one known field. Return False if it is not plain."""
    cdef Kind kind = source.kind
    cdef uint64_t bits = 0
    cdef int i
    if wire != source.wire:
        return False
    if kind == FLAGS:
        if slot.state != ABSENT:
            return False
        slot.state, slot.number = THERE, 0
        return read_flags(text, &slot.number)
    slot.state = THERE
    if wire == VARINT:
        slot.number = <int64_t>number
        if kind == BOOL:
            slot.number = number != 0
        elif kind != INT64 and slot.number != <int64_t>(<int32_t>slot.number):
            return False
        return True
    if wire == FIXED64:
        for i in range(8):
            bits |= <uint64_t>text.at[i] << (8 * i)
        memcpy(&slot.real, &bits, 8)
        return slot.real == slot.real  # a NaN need not keep its bits
    slot.text = text
    return is_text(text)


cdef bint read_flags(Span text, int64_t* flags) noexcept:
    """Read a message of bools, numbered from 1. Return False if one comes twice or has no place in a mask."""
    cdef const uint8_t* at = text.at
    cdef const uint8_t* end = text.at + text.size
    cdef uint64_t key = 0, number = 0
    while at < end:
        at = read_varint(at, end, &key)
        if at == NULL or key & 7 or not 1 <= key >> 3 <= MOST_FLAGS:
            return False
        at = read_varint(at, end, &number)
        if at == NULL or flags[0] >> ((key >> 3) - 1) & 1:
            return False
        if number:
            flags[0] |= <int64_t>1 << ((key >> 3) - 1)
    return True


cdef bint finish(Plan plan, Slot* slots) except -1:
    """Mark unset values, and read numbers that protobuf has as text: only now is the last of several known."""
    cdef int i
    cdef Source* source
    for i in range(plan.source_count):
        if slots[i].state == ABSENT:
            continue
        source = &plan.sources[i]
        if source.kind == INT32 or source.kind == INT64:
            if slots[i].number == source.unset:
                slots[i].state = UNSET
        elif source.kind == REAL or source.kind == NEGATIVE:
            slots[i].state = state_of(plan, source, slots[i].real)
        elif source.kind == DECIMAL:
            if not to_decimal(plan, slots[i].text, &slots[i]):
                return False
        elif source.kind == STRICT:
            if not to_real(slots[i].text, &slots[i].real) or slots[i].real == plan.greatest:
                return False
    return True


# -- msgpack ---------------------------------------------------------------------------------------------------------


cdef inline bint put(Out* out, Span span) noexcept:
    if span.size > out.end - out.at:
        return False
    memcpy(out.at, span.at, span.size)
    out.at += span.size
    return True


cdef inline bint put_bits(Out* out, uint8_t head, uint64_t bits, int size) noexcept:
    """Write `head` and the low `size` bytes of `bits`, the highest first. Return False if there is no room."""
    cdef int i
    if size + 1 > out.end - out.at:
        return False
    out.at[0] = head
    for i in range(size):
        out.at[1 + i] = bits >> (8 * (size - 1 - i)) & 255
    out.at += size + 1
    return True


cdef bint put_int(Out* out, int64_t number) noexcept:
    cdef uint64_t bits = <uint64_t>number
    if -32 <= number < 128:
        return put_bits(out, bits & 255, 0, 0)
    if number >= 0:
        if bits <= 0xff:
            return put_bits(out, 0xcc, bits, 1)
        if bits <= 0xffff:
            return put_bits(out, 0xcd, bits, 2)
        if bits <= 0xffffffff:
            return put_bits(out, 0xce, bits, 4)
        return put_bits(out, 0xcf, bits, 8)
    if number >= -0x80:
        return put_bits(out, 0xd0, bits, 1)
    if number >= -0x8000:
        return put_bits(out, 0xd1, bits, 2)
    if number >= -0x80000000LL:
        return put_bits(out, 0xd2, bits, 4)
    return put_bits(out, 0xd3, bits, 8)


cdef bint put_real(Out* out, double real) noexcept:
    cdef uint64_t bits
    memcpy(&bits, &real, 8)
    return put_bits(out, 0xcb, bits, 8)


cdef bint put_text(Out* out, Span text) noexcept:
    cdef bint room
    if text.size < 32:
        room = put_bits(out, 0xa0 | <uint8_t>text.size, 0, 0)
    elif text.size < 0x100:
        room = put_bits(out, 0xd9, text.size, 1)
    elif text.size < 0x10000:
        room = put_bits(out, 0xda, text.size, 2)
    else:
        room = False  # longer than any buffer
    return room and put(out, text)


cdef bint put_slot(Source* source, Slot* slot, Out* out) noexcept:
    cdef Kind kind = source.kind
    if slot.state == ABSENT:
        return put(out, source.absent)
    if slot.state == UNSET:
        return put_bits(out, 0xc0, 0, 0)
    if kind == INT32 or kind == INT64:
        return put_int(out, slot.number)
    if kind == STR or kind == ESCAPED:
        return put_text(out, slot.text)
    if kind == BOOL:
        return put_bits(out, 0xc3 if slot.number else 0xc2, 0, 0)
    if kind == MASK or kind == FLAGS:
        return put(out, source.masks[slot.number & (MOST_MASKS - 1)])
    return kind != SKIP and put_real(out, slot.real)


cdef bint holds(Condition* condition, Slot* slots) noexcept:
    cdef int i
    cdef Slot* slot = &slots[condition.source]
    if slot.state != THERE:
        return slot.state == ABSENT and condition.absent
    for i in range(condition.count):
        if condition.named[i] == slot.number:
            return True
    return False


cdef bint put_all(Plan plan, Slot* slots, Out* out) noexcept:
    cdef int i
    cdef Value* value
    for i in range(plan.value_count):
        value = &plan.values[i]
        if not put(out, value.fixed):
            return False
        if value.only.source >= 0 and not holds(&value.only, slots):
            if not put(out, value.default):
                return False
        elif not put_slot(&plan.sources[value.source], &slots[value.source], out):
            return False
    return put(out, plan.tail)


# -- payloads --------------------------------------------------------------------------------------------------------


cdef inline object number_of(Slot* slot, absent):
    if slot.state == THERE:
        return slot.number
    return absent if slot.state == ABSENT else None


cdef object take(Plan plan, const uint8_t* at, const uint8_t* end):
    """Return a body as a packed message, or None if the plan does not fit it."""
    cdef Slot slots[MOST]
    cdef uint8_t room[CAPACITY]
    cdef Out out
    cdef int i
    if plan.proto:
        for i in range(plan.source_count):
            slots[i].state = ABSENT
        if not (read_proto(plan, 0, at, end, slots) and finish(plan, slots)):
            return None
    elif not read_text(plan, at, end, slots):
        return None
    if plan.kind.source >= 0 and not holds(&plan.kind, slots):
        return None
    out.at, out.end = room, room + CAPACITY
    if not put_all(plan, slots, &out):
        return None
    key = number_of(&slots[plan.key], plan.key_absent)
    identity = plan.identity_absent if plan.identity < 0 else number_of(&slots[plan.identity], plan.identity_absent)
    return (plan.name, key, identity, PyBytes_FromStringAndSize(<const char*>room, out.at - room))


@cython.final
cdef class Reader:
    """Reader of payloads at one server version.

    `plans` returns the plans for an id, of which one may fit; it is called once for each id below `ids`. `rest` reads
    the payloads that no plan fits.
    """

    cdef:
        bint raw
        list known
        object plans, rest

    def __cinit__(self, bint raw, int ids, plans, rest):
        self.raw, self.plans, self.rest = raw, plans, rest
        self.known = [None] * ids

    def read(self, payload):
        """Return the packed message in a payload, or the result of `rest`."""
        if type(payload) is bytes:
            found = self.packed(<bytes>payload)
            if found is not None:
                return found
        return self.rest(payload)

    cdef object packed(self, bytes payload):
        cdef const uint8_t* start = <const uint8_t*>PyBytes_AS_STRING(payload)
        cdef const uint8_t* end = start + PyBytes_GET_SIZE(payload)
        cdef const uint8_t* at = start
        cdef Py_ssize_t number = 0
        if self.raw:
            if end - at < 4 or at[0] or at[1]:
                return None
            number = <Py_ssize_t>at[2] << 8 | at[3]
            at += 4
        else:
            while at < end and at - start < 4 and is_digit(at[0]):
                number = number * 10 + (at[0] - 48)
                at += 1
            if at == end or at[0] != 0 or start[0] == c"0":
                return None
            at += 1
        if number >= len(self.known):
            return None
        plans = self.known[number]
        if plans is None:
            plans = self.known[number] = tuple(self.plans(number))
        for plan in <tuple>plans:
            found = take(<Plan?>plan, at, end)
            if found is not None:
                return found
        return None


# -- frames ----------------------------------------------------------------------------------------------------------


def split(bytes data not None, Py_ssize_t most):
    """Return the complete payloads, the offset of the rest and the length that it announces, as `framing.split` does."""
    cdef const uint8_t* start = <const uint8_t*>PyBytes_AS_STRING(data)
    cdef const uint8_t* end = start + PyBytes_GET_SIZE(data)
    cdef const uint8_t* at = start
    cdef Py_ssize_t length
    cdef list payloads = []
    while end - at >= 4:
        length = <Py_ssize_t>at[0] << 24 | <Py_ssize_t>at[1] << 16 | <Py_ssize_t>at[2] << 8 | at[3]
        if length > end - at - 4 or length > most:
            return payloads, at - start, length
        payloads.append(PyBytes_FromStringAndSize(<const char*>at + 4, length))
        at += 4 + length
    return payloads, at - start, 0
