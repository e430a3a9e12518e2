# cython: language_level=3
"""Types of sequencer.py for its compiled form, `_sequencer`: what cannot be is refused where it is set.

Numbers are 64 bits wide, as on the bus.
"""

cimport cython
from libc.stdint cimport uint64_t

from ibbridge.streams cimport envelope


cdef class Stream:
    cdef public bytes name
    cdef public bint durable, changed
    cdef public uint64_t seq, cuts
    cdef readonly object offsets
    cdef object add_offset
    cdef public dict channels


cdef class Channel:
    cdef public Stream stream
    cdef public bytes topic, about, head
    cdef public str kind
    cdef public bint keeps
    cdef public dict last, stale
    cdef public object book
    cdef public long users


cdef class Sequencer:
    cdef public uint64_t offset
    cdef public list held, changed

    @cython.locals(stream=Stream, seq=uint64_t, offset=uint64_t, body=bytes, held=list)
    cpdef bytes publish(self, Channel channel, bytes data, uint64_t ts)

    @cython.locals(by_key=dict, channel=Channel, body=bytes)
    cpdef publish_all(self, messages, uint64_t ts, dict channels, other)
