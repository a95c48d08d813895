# The truth server's connections: taken in, watched, let go. Header-only.
#
# A connection is freed only after the round in which it ended, as events of the same round may
# still point to it.

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, realloc
from libc.string cimport memset

from agenda cimport agenda_drop, agenda_reserve, nowhere
from linux cimport (
    EAGAIN, ECONNABORTED, EINTR, EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD,
    IPPROTO_TCP, SOL_SOCKET, TCP_NODELAY, close, count, epoll_ctl, epoll_event, errno, monotonic_ns,
    setsockopt,
)
from plans cimport EVENT_GONE, conn_t, event_new, serving_t
from reporting cimport post_event
from stamps cimport ask_for_stamps

cdef extern from *:
    """
    #define _GNU_SOURCE 1
    #include <sys/socket.h>
    extern int accept4(int, struct sockaddr *, socklen_t *, int);
    """
    enum: SO_LINGER, SOCK_NONBLOCK, SOCK_CLOEXEC
    struct linger_t "linger":
        int l_onoff
        int l_linger
    int accept4(int fd, void* address, void* n, int flags) noexcept nogil


cdef enum:
    ACCEPTS_PER_ROUND = 32
    ACCEPT_REST_NS = 100_000_000


cdef inline void want_writable(serving_t* s, conn_t* conn, bint wanted) noexcept nogil:
    cdef epoll_event event
    conn.writable_wanted = wanted
    # Half-closed for good: level-triggered EPOLLIN would wake us for ever.
    event.events = 0 if conn.ending else EPOLLIN | EPOLLRDHUP
    if wanted:
        event.events |= EPOLLOUT
    event.data.ptr = conn
    epoll_ctl(s.ep, EPOLL_CTL_MOD, conn.fd, &event)

cdef inline void watch_listener(serving_t* s, int how, uint32_t events) noexcept nogil:
    cdef epoll_event event
    event.events = events
    event.data.ptr = NULL
    if s.listening >= 0:
        epoll_ctl(s.ep, how, s.listening, &event)

cdef inline void rest_listener(serving_t* s) noexcept nogil:
    """No descriptor or no memory for another connection. The listener stays readable all the same:
    look at it again when one of ours has closed, or after a while, for others may have closed."""
    s.overfull = True
    s.accept_again_ns = monotonic_ns() + ACCEPT_REST_NS
    watch_listener(s, EPOLL_CTL_MOD, 0)

cdef inline void wake_listener(serving_t* s) noexcept nogil:
    s.overfull = False
    watch_listener(s, EPOLL_CTL_MOD, EPOLLIN)

cdef inline void drop_conn(serving_t* s, conn_t* conn, bint reset) noexcept nogil:
    cdef linger_t now
    cdef epoll_event none
    if conn.dead:
        return
    if reset:
        now.l_onoff = 1
        now.l_linger = 0
        setsockopt(conn.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now))
    agenda_drop(&s.agenda, &conn.place)
    s.conns[conn.fd] = NULL
    # Closing alone would not do while a child, just forked, still holds a copy of the descriptor.
    epoll_ctl(s.ep, EPOLL_CTL_DEL, conn.fd, &none)
    close(conn.fd)
    conn.dead = True
    conn.next = s.dead
    s.dead = conn
    count(&s.stats.connections, -1)
    if s.overfull:
        wake_listener(s)

cdef inline void client_gone(serving_t* s, conn_t* conn) noexcept nogil:
    if conn.serial and not conn.dead:
        post_event(s, event_new(EVENT_GONE, conn, monotonic_ns(), 0))
    drop_conn(s, conn, False)

cdef inline bint place_for(serving_t* s, int fd) noexcept nogil:
    cdef conn_t** grown
    cdef size_t cap = s.conns_cap
    if <size_t> fd < cap:
        return True
    while cap <= <size_t> fd:
        cap = 2 * cap + 1024
    # First: once `conns` is large enough, nobody asks for this again.
    if agenda_reserve(&s.agenda, cap):
        return False
    grown = <conn_t**> realloc(s.conns, cap * sizeof(conn_t*))
    if grown == NULL:
        return False
    memset(grown + s.conns_cap, 0, (cap - s.conns_cap) * sizeof(conn_t*))
    s.conns = grown
    s.conns_cap = cap
    return True

cdef inline void accept_some(serving_t* s) noexcept nogil:
    cdef epoll_event event
    cdef conn_t* conn
    cdef int on = 1
    cdef int fd
    cdef int i
    for i in range(ACCEPTS_PER_ROUND):
        fd = accept4(s.listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)
        if fd < 0:
            if errno != EAGAIN and errno != EINTR and errno != ECONNABORTED:
                rest_listener(s)
            return
        conn = <conn_t*> calloc(1, sizeof(conn_t)) if place_for(s, fd) else NULL
        if conn == NULL:
            close(fd)
            rest_listener(s)
            return
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on))
        ask_for_stamps(fd)
        s.generation += 1
        conn.fd = fd
        conn.ident = s.generation << 32 | <uint64_t> fd
        conn.place = nowhere()
        s.conns[fd] = conn
        count(&s.stats.connections, 1)
        event.events = EPOLLIN | EPOLLRDHUP
        event.data.ptr = conn
        if epoll_ctl(s.ep, EPOLL_CTL_ADD, fd, &event):
            drop_conn(s, conn, False)  # nothing that it sends would be seen
            rest_listener(s)
            return

cdef inline void change_listener(serving_t* s, int fd) noexcept nogil:
    """Close the one in use: connecting is refused until there is another."""
    if s.listening >= 0:
        watch_listener(s, EPOLL_CTL_DEL, 0)
        close(s.listening)
    s.listening = fd
    s.overfull = False
    watch_listener(s, EPOLL_CTL_ADD, EPOLLIN)
