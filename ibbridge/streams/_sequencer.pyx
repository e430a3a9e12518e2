# cython: language_level=3, binding=False, boundscheck=True, wraparound=False
"""What every message goes through, compiled: see `sequencer.py`, which says what it is and does the same.

Attributes are typed, so that what cannot be is refused where it is set. Numbers are 64 bits wide, as on the bus.
"""

from array import array

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

SEQUENCER = 2  # the version of what is here: an installation may have one that is older than the rest

cdef enum:
    NUMBERS = 41  # bytes between head and data

cdef inline char* _put(char* place, uint64_t number) noexcept:
    cdef int shift
    for shift in range(8):
        place[shift] = <char>(number >> (56 - 8 * shift))
    return place + 8


cpdef bytes sealed(bytes head, uint64_t seq, uint64_t offset, uint64_t ts, bytes data):
    cdef Py_ssize_t before = PyBytes_GET_SIZE(head), behind = PyBytes_GET_SIZE(data)
    cdef bytes body = PyBytes_FromStringAndSize(NULL, before + NUMBERS + behind)
    cdef char* place = PyBytes_AS_STRING(body)
    memcpy(place, PyBytes_AS_STRING(head), before)
    place = _put(place + before, seq)
    memcpy(place, b"\xa6offset\xcf", 8)
    place = _put(place + 8, offset)
    memcpy(place, b"\xa2ts\xcf", 4)
    place = _put(place + 4, ts)
    memcpy(place, b"\xa4data", 5)
    memcpy(place + 5, PyBytes_AS_STRING(data), behind)
    return body


cdef class Stream:
    cdef public bytes name
    cdef public bint durable
    cdef public uint64_t seq, cuts
    cdef public bint changed
    cdef readonly object offsets
    cdef public dict channels
    cdef object _note

    def __init__(self, bytes name not None, bint durable):
        self.name = name
        self.durable = durable
        self.seq = self.cuts = 0
        self.changed = False
        self.offsets = array("Q")
        self._note = self.offsets.append
        self.channels = {}


cdef class Channel:
    cdef public Stream stream
    cdef public bytes topic, about, head
    cdef public str kind
    cdef public bint keeps
    cdef public dict last, stale
    cdef public object book
    cdef public long users

    def __init__(self, Stream stream not None, bytes topic not None, str kind not None, bytes about not None, bytes head not None):
        self.stream = stream
        self.topic = topic
        self.kind = kind
        self.about = about
        self.head = head
        self.keeps = False
        self.last = {}
        self.stale = {}
        self.book = None
        self.users = 0


cdef class Sequencer:
    cdef public uint64_t offset
    cdef public list held, changed

    def __init__(self):
        self.offset = 0
        self.changed = []
        self.held = []

    cpdef bytes publish(self, Channel channel, bytes data, uint64_t ts):
        cdef Stream stream = channel.stream
        cdef list held = self.held
        stream.seq += 1
        self.offset += 1
        stream._note(self.offset)
        if not stream.changed:
            stream.changed = True
            self.changed.append(stream)
        cdef bytes body = sealed(channel.head, stream.seq, self.offset, ts, data)
        held.append(channel.topic)
        held.append(body)
        return body

    def publish_all(self, messages, uint64_t ts, dict channels, other):
        cdef Channel channel
        cdef tuple packed
        cdef bytes body
        for message in messages:
            if type(message) is tuple:
                packed = <tuple>message
                found = (<dict>channels[packed[0]]).get(packed[1])
                if found is not None:
                    channel = <Channel?>found
                    body = self.publish(channel, packed[3], ts)
                    if channel.keeps:
                        channel.last[packed[2]] = body
                    continue
            other(message, ts)
