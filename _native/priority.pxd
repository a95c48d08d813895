# Starting a thread with real-time priority. Header-only.

from linux cimport pthread_t

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
    int pthread_create(
        pthread_t* thread, const pthread_attr_t* attributes, void* (*main)(void*) noexcept nogil,
        void* arg
    )


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
