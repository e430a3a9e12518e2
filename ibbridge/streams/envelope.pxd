# cython: language_level=3
"""`seal` of envelope.py for compiled code: it writes the body in place, instead of joining parts."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

cdef enum:
    NUMBERS = 41  # bytes between head and data


cdef inline char* _put(char* place, uint64_t number) noexcept:
    cdef int shift
    for shift in range(8):
        place[shift] = <char>(number >> (56 - 8 * shift))
    return place + 8


cdef inline bytes seal(bytes head, uint64_t seq, uint64_t offset, uint64_t ts, bytes data):
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
