# cython: language_level=3, binding=False, boundscheck=False, wraparound=False
"""Frames to a ZeroMQ socket, compiled: see `outbox.py`, which says what it is and does the same.

libzmq is not linked: pyzmq brings its own, and says where its functions are. The GIL is kept, for nothing here waits.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, EINTR
from libc.stdint cimport uintptr_t

OUTBOX = 1  # the version of what is here: an installation may have one that is older than the rest

ctypedef int (*Send)(void* socket, const void* data, size_t size, int flags) noexcept nogil
ctypedef int (*Errno)() noexcept nogil

cdef enum:
    DONTWAIT = 1
    SNDMORE = 2


cdef class Outbox:
    cdef readonly long unsent
    cdef void* _socket
    cdef Send _send
    cdef Errno _errno
    cdef object _raise

    def __init__(self, uintptr_t socket, uintptr_t send, uintptr_t errno, fault not None):
        self._socket = <void*>socket
        self._send = <Send>send
        self._errno = <Errno>errno
        self._raise = fault
        self.unsent = 0

    cdef int _put(self, bytes frame, int flags) except -1:
        cdef int error
        while self._send(self._socket, PyBytes_AS_STRING(frame), PyBytes_GET_SIZE(frame), flags) < 0:
            error = self._errno()
            if error == EAGAIN:
                return 0
            if error != EINTR:
                self._raise(error)
        return 1

    def send(self, list frames not None):
        cdef Py_ssize_t place, count = len(frames)
        if count % 2:
            raise ValueError("topics and bodies in turn")
        for place in range(0, count, 2):
            if not self._put(<bytes?>frames[place], DONTWAIT | SNDMORE) or not self._put(<bytes?>frames[place + 1], DONTWAIT):
                self.unsent += 1
