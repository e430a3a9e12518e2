# cython: language_level=3, binding=False, boundscheck=False, wraparound=False
"""Frames to a ZeroMQ socket, compiled: see `zmq_send.py`, which says what it is and does the same.

libzmq is not linked: pyzmq brings its own, and says where its functions are. The GIL is given up meanwhile: a send may
first take in what a subscriber floods the socket with, and the thread that cuts such a one off must run then.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, EINTR
from libc.stdint cimport uintptr_t

INTERFACE = 3  # see compiled.py

ctypedef int (*Send)(void* socket, const void* data, size_t size, int flags) noexcept nogil
ctypedef int (*Errno)() noexcept nogil

cdef enum:
    DONTWAIT = 1
    SNDMORE = 2
    AT_ONCE = 256


cdef class Outbox:
    cdef readonly long unsent
    cdef readonly long long sent_messages
    cdef readonly long long sent_bytes
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
        self.sent_messages = 0
        self.sent_bytes = 0

    cdef int _put(self, const char* data, Py_ssize_t size, int flags) noexcept nogil:
        """0 if there is no room, the error's number below 0 if it cannot be sent."""
        cdef int error
        while self._send(self._socket, data, size, flags) < 0:
            error = self._errno()
            if error == EAGAIN:
                return 0
            if error != EINTR:
                return -error
        return 1

    cdef int _put_all(self, const char** data, Py_ssize_t* sizes, Py_ssize_t count) noexcept nogil:
        cdef Py_ssize_t place
        cdef int done
        for place in range(0, count, 2):
            done = self._put(data[place], sizes[place], DONTWAIT | SNDMORE)
            if done > 0:
                done = self._put(data[place + 1], sizes[place + 1], DONTWAIT)
            if done < 0:
                return done
            if done == 0:
                self.unsent += 1
            self.sent_messages += 1
            self.sent_bytes += sizes[place] + sizes[place + 1]
        return 0

    def send(self, list frames not None):
        cdef Py_ssize_t place, start, part, count = len(frames)
        cdef const char* data[AT_ONCE]
        cdef Py_ssize_t sizes[AT_ONCE]
        cdef int error
        if count % 2:
            raise ValueError("topics and bodies in turn")
        for start in range(0, count, AT_ONCE):
            part = min(AT_ONCE, count - start)
            for place in range(part):
                data[place] = PyBytes_AS_STRING(<bytes?>frames[start + place])
                sizes[place] = PyBytes_GET_SIZE(frames[start + place])
            with nogil:
                error = self._put_all(data, sizes, part)
            if error:
                self._raise(-error)
