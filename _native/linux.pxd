# The system calls and constants that the reactor uses. Declarations only.

from libc.stdint cimport int64_t, uint32_t, uint64_t


cdef extern from "<errno.h>" nogil:
    int errno
    enum: EAGAIN, EINTR, EINPROGRESS, ENOMEM, ECONNABORTED, ECONNRESET, EPIPE, EMFILE, ENFILE

cdef extern from "<time.h>" nogil:
    ctypedef int clockid_t
    struct timespec:
        long tv_sec
        long tv_nsec
    struct itimerspec:
        timespec it_interval
        timespec it_value
    enum: CLOCK_MONOTONIC, CLOCK_REALTIME
    int clock_gettime(clockid_t clock, timespec* now)

cdef extern from "<unistd.h>" nogil:
    int close(int fd)
    Py_ssize_t read(int fd, void* to, size_t n)
    Py_ssize_t write(int fd, const void* p, size_t n)

cdef extern from "<sys/eventfd.h>" nogil:
    enum: EFD_NONBLOCK, EFD_CLOEXEC
    int eventfd(unsigned int initial, int flags)

cdef extern from "<sys/timerfd.h>" nogil:
    enum: TFD_NONBLOCK, TFD_CLOEXEC, TFD_TIMER_ABSTIME
    int timerfd_create(clockid_t clock, int flags)
    int timerfd_settime(int fd, int flags, const itimerspec* to, itimerspec* was)

cdef extern from "<sys/epoll.h>" nogil:
    enum: EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLHUP, EPOLLERR
    enum: EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, EPOLL_CLOEXEC
    ctypedef union epoll_data_t:
        void* ptr
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int ep, int op, int fd, epoll_event* event)
    int epoll_wait(int ep, epoll_event* events, int most, int timeout_ms)

cdef extern from "<poll.h>" nogil:
    enum: POLLIN
    struct pollfd:
        int fd
        short events
        short revents
    int ppoll(pollfd* fds, unsigned long n, const timespec* timeout, const void* mask)

cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    struct sockaddr:
        unsigned short sa_family
    struct iovec:
        void* iov_base
        size_t iov_len
    struct msghdr:
        void* msg_name
        socklen_t msg_namelen
        iovec* msg_iov
        size_t msg_iovlen
        void* msg_control
        size_t msg_controllen
        int msg_flags
    struct cmsghdr:
        size_t cmsg_len
        int cmsg_level
        int cmsg_type
    enum: AF_INET, AF_INET6, AF_UNIX, SOCK_STREAM, SOCK_DGRAM, SOCK_NONBLOCK, SOCK_CLOEXEC
    enum: SOL_SOCKET, SO_ERROR, SO_TIMESTAMPING, SCM_TIMESTAMPING, MSG_NOSIGNAL, MSG_DONTWAIT
    int socket(int family, int type, int protocol)
    int bind(int fd, const sockaddr* to, socklen_t n)
    int connect(int fd, const sockaddr* to, socklen_t n)
    int getsockname(int fd, sockaddr* to, socklen_t* n)
    int getsockopt(int fd, int level, int name, void* value, socklen_t* n)
    int setsockopt(int fd, int level, int name, const void* value, socklen_t n)
    Py_ssize_t send(int fd, const void* p, size_t n, int flags)
    Py_ssize_t recvmsg(int fd, msghdr* message, int flags)
    cmsghdr* CMSG_FIRSTHDR(msghdr* message)
    cmsghdr* CMSG_NXTHDR(msghdr* message, cmsghdr* part)
    unsigned char* CMSG_DATA(cmsghdr* part)

cdef extern from "<netinet/in.h>" nogil:
    enum: IPPROTO_TCP, INADDR_LOOPBACK
    struct in_addr:
        uint32_t s_addr
    struct sockaddr_in:
        unsigned short sin_family
        unsigned short sin_port
        in_addr sin_addr
    uint32_t htonl(uint32_t x)

cdef extern from "<netinet/tcp.h>" nogil:
    enum: TCP_NODELAY

cdef extern from "<linux/net_tstamp.h>" nogil:
    enum: SOF_TIMESTAMPING_RX_SOFTWARE, SOF_TIMESTAMPING_SOFTWARE

cdef extern from "<signal.h>" nogil:
    ctypedef struct sigset_t:
        pass
    enum: SIG_SETMASK
    int sigfillset(sigset_t* set)
    int pthread_sigmask(int how, const sigset_t* to, sigset_t* was)

cdef extern from "<sys/prctl.h>" nogil:
    enum: PR_SET_TIMERSLACK
    int prctl(int option, unsigned long value)

cdef extern from "<pthread.h>" nogil:
    ctypedef unsigned long pthread_t
    ctypedef struct pthread_mutex_t:
        pass
    int pthread_create(
        pthread_t* thread, void* attributes, void* (*main)(void*) noexcept nogil, void* arg
    )
    int pthread_join(pthread_t thread, void** result)
    int pthread_setname_np(pthread_t thread, const char* name)
    int pthread_getcpuclockid(pthread_t thread, clockid_t* clock)
    int pthread_mutex_init(pthread_mutex_t* lock, void* attributes)
    int pthread_mutex_destroy(pthread_mutex_t* lock)
    int pthread_mutex_lock(pthread_mutex_t* lock)
    int pthread_mutex_unlock(pthread_mutex_t* lock)

cdef extern from * nogil:
    # GCC and Clang builtins. A counter has one writer, and readers that want to see a whole number.
    uint64_t __atomic_load_n(uint64_t* at, int order)
    void __atomic_store_n(uint64_t* at, uint64_t value, int order)
    int __ATOMIC_RELAXED


cdef inline uint64_t counted(uint64_t* at) noexcept nogil:
    return __atomic_load_n(at, __ATOMIC_RELAXED)

cdef inline void count(uint64_t* at, int64_t more) noexcept nogil:
    __atomic_store_n(at, counted(at) + <uint64_t> more, __ATOMIC_RELAXED)

cdef inline int64_t nanoseconds(timespec* t) noexcept nogil:
    return <int64_t> t.tv_sec * 1_000_000_000 + t.tv_nsec

cdef inline int64_t clock_ns(clockid_t clock) noexcept nogil:
    cdef timespec t
    clock_gettime(clock, &t)
    return nanoseconds(&t)

cdef inline int64_t monotonic_ns() noexcept nogil:
    return clock_ns(CLOCK_MONOTONIC)
