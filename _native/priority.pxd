# How soon a thread gets its turn: real-time priority, or else short turns. Header-only.

from libc.stdint cimport uint64_t

from linux cimport pthread_create, pthread_t

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_attr_t:
        pass
    struct sched_param:
        int sched_priority
    enum: PTHREAD_EXPLICIT_SCHED, SCHED_FIFO
    int pthread_attr_init(pthread_attr_t* attributes)
    int pthread_attr_destroy(pthread_attr_t* attributes)
    int pthread_attr_setinheritsched(pthread_attr_t* attributes, int inherit)
    int pthread_attr_setschedpolicy(pthread_attr_t* attributes, int policy)
    int pthread_attr_setschedparam(pthread_attr_t* attributes, sched_param* parameters)

# Of the calling thread: turns that are short and come soon (Linux 6.12 and later; others ignore it,
# or refuse, and nothing is lost).
cdef extern from *:
    """
    #define _GNU_SOURCE 1
    #include <stdint.h>
    #include <string.h>
    #include <sys/syscall.h>
    #include <unistd.h>
    extern long syscall(long, ...);
    /* struct sched_attr, first version; glibc has no name for it before 2.41. */
    static void harness_ask_for_slice(uint64_t slice_ns) {
        struct {
            uint32_t size, policy; uint64_t flags; int32_t nice; uint32_t priority;
            uint64_t runtime, deadline, period;
        } attr;
        memset(&attr, 0, sizeof(attr));
        attr.size = sizeof(attr);
        attr.runtime = slice_ns;
        syscall(SYS_sched_setattr, 0, &attr, 0);
    }
    """
    void ask_for_slice "harness_ask_for_slice"(uint64_t slice_ns) noexcept nogil


cdef inline int start_realtime(
    pthread_t* thread, void* (*main)(void*) noexcept nogil, void* arg
) noexcept nogil:
    """An error where that priority is not ours to have."""
    cdef pthread_attr_t attributes
    cdef sched_param parameters
    cdef int error
    parameters.sched_priority = 1
    pthread_attr_init(&attributes)
    pthread_attr_setinheritsched(&attributes, PTHREAD_EXPLICIT_SCHED)
    pthread_attr_setschedpolicy(&attributes, SCHED_FIFO)
    pthread_attr_setschedparam(&attributes, &parameters)
    error = pthread_create(thread, &attributes, main, arg)
    pthread_attr_destroy(&attributes)
    return error
