# The truth server's thread: accept, read requests, send what is due, note the instants. Header-only.
#
# Strategy: everything that is due goes out first, in order of due instants; then the sockets are
# looked at; then we sleep until the next due instant or the next socket event, whichever is first.
# A long queue of due pieces must not starve the sockets, so they get a look every SENDS_PER_ROUND.
#
# An instant is taken right before and right after each send(). On loopback the kernel delivers the
# bytes to the receiver within send(), so that the truth lies between the two.

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memmove, memset

from agenda cimport agenda_drop, agenda_put, agenda_reserve, nowhere
from linux cimport (
    EAGAIN, EINTR, EMFILE, ENFILE, EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLL_CTL_ADD,
    EPOLL_CTL_DEL, EPOLL_CTL_MOD, IPPROTO_TCP, MSG_DONTWAIT, MSG_NOSIGNAL, POLLIN, PR_SET_TIMERSLACK, SOL_SOCKET,
    TCP_NODELAY, close, count, epoll_ctl, epoll_event, epoll_wait, errno, iovec, monotonic_ns, msghdr,
    pollfd, ppoll, prctl, pthread_mutex_lock, pthread_mutex_unlock, read, recvmsg, send, setsockopt,
    socklen_t, timespec, write,
)
from plans cimport (
    BODY_MAX, ENDING_CLOSE, ENDING_HOLD, ENDING_KEEP, ENDING_RESET, EVENT_FINISHED, EVENT_GONE,
    EVENT_REQUEST, HEAD_MAX, ROWS_PER_BLOCK, block_t, conn_free, conn_t, event_new, event_t, piece_t,
    plan_t, row_t, serving_t,
)
from stamps cimport OFFSET_AGE_NS, ask_for_stamps, clockmap_refresh, stamp_of

cdef extern from *:
    """
    #define _GNU_SOURCE 1
    #include <stdint.h>
    #include <string.h>
    #include <sched.h>
    #include <sys/socket.h>
    #include <sys/epoll.h>
    #include <sys/syscall.h>
    #include <unistd.h>
    extern int accept4(int, struct sockaddr *, socklen_t *, int);
    extern void *memmem(const void *, size_t, const void *, size_t);
    extern int strncasecmp(const char *, const char *, size_t);
    extern long syscall(long, ...);
    /* struct sched_attr, first version; glibc has no name for it before 2.41. */
    static long harness_sched_setattr(uint32_t policy, uint32_t priority, uint64_t slice_ns) {
        struct {
            uint32_t size, policy; uint64_t flags; int32_t nice; uint32_t priority;
            uint64_t runtime, deadline, period;
        } attr;
        memset(&attr, 0, sizeof(attr));
        attr.size = sizeof(attr);
        attr.policy = policy;
        attr.priority = priority;
        attr.runtime = slice_ns;
        return syscall(SYS_sched_setattr, 0, &attr, 0);
    }
    """
    enum: SCHED_FIFO
    long harness_sched_setattr(uint32_t policy, uint32_t priority, uint64_t slice_ns) noexcept nogil
    enum: SO_LINGER, SOCK_NONBLOCK, SOCK_CLOEXEC, SHUT_WR
    struct linger_t "linger":
        int l_onoff
        int l_linger
    int accept4(int fd, void* address, void* n, int flags) noexcept nogil
    void* memmem(const void* where, size_t n, const void* what, size_t m) noexcept nogil
    int strncasecmp(const char* a, const char* b, size_t n) noexcept nogil


cdef enum:
    SENDS_PER_ROUND = 64
    EVENTS_PER_ROUND = 256
    READ_SIZE = 262144
    ACCEPTS_PER_ROUND = 32
    SLICE_NS = 100_000


# ------------------------------------------------------------------------------ to and from Python

cdef inline void post_event(serving_t* s, event_t* event) noexcept nogil:
    cdef uint64_t one = 1
    cdef bint was_empty
    if event == NULL:
        return
    pthread_mutex_lock(&s.lock)
    was_empty = s.events == NULL
    if was_empty:
        s.events = event
    else:
        s.events_last.next = event
    s.events_last = event
    pthread_mutex_unlock(&s.lock)
    if was_empty:
        write(s.outbox, &one, sizeof(one))

cdef inline void hand_over(serving_t* s) noexcept nogil:
    """The log's block at hand goes to Python."""
    cdef uint64_t one = 1
    if s.block == NULL or s.block.count == 0:
        return
    s.block.next = NULL
    pthread_mutex_lock(&s.lock)
    if s.full == NULL:
        s.full = s.block
    else:
        s.full_last.next = s.block
    s.full_last = s.block
    pthread_mutex_unlock(&s.lock)
    s.block = NULL

cdef inline void note(serving_t* s, conn_t* conn, int64_t after_ns, int64_t size) noexcept nogil:
    cdef piece_t* piece = &conn.plan.pieces[conn.index]
    cdef row_t* row
    if s.block == NULL:
        s.block = <block_t*> malloc(sizeof(block_t))
        if s.block == NULL:
            count(&s.stats.lost_rows, 1)
            return
        s.block.count = 0
    row = &s.block.rows[s.block.count]
    s.block.count += 1
    row.serial = conn.serial
    row.due_ns = piece.due_ns
    row.before_ns = conn.before_ns
    row.after_ns = after_ns
    row.index = <uint32_t> conn.index
    row.size = <uint32_t> size
    row.kind = piece.kind
    row.tries = conn.tries
    if s.block.count == ROWS_PER_BLOCK:
        hand_over(s)


# --------------------------------------------------------------------------------- the connections

cdef inline void schedule(serving_t* s, conn_t* conn) noexcept nogil:
    s.order += 1
    agenda_put(&s.agenda, conn.plan.pieces[conn.index].due_ns, s.order, conn, &conn.place)

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
        s.overfull = False
        watch_listener(s, EPOLL_CTL_MOD, EPOLLIN)

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
    grown = <conn_t**> realloc(s.conns, cap * sizeof(conn_t*))
    if grown == NULL:
        return False
    memset(grown + s.conns_cap, 0, (cap - s.conns_cap) * sizeof(conn_t*))
    s.conns = grown
    s.conns_cap = cap
    return agenda_reserve(&s.agenda, cap) == 0

cdef inline void accept_some(serving_t* s) noexcept nogil:
    cdef epoll_event event
    cdef conn_t* conn
    cdef int on = 1
    cdef int fd
    cdef int i
    for i in range(ACCEPTS_PER_ROUND):
        fd = accept4(s.listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)
        if fd < 0:
            if errno == EMFILE or errno == ENFILE:
                s.overfull = True
                watch_listener(s, EPOLL_CTL_MOD, 0)
            return
        conn = <conn_t*> calloc(1, sizeof(conn_t)) if place_for(s, fd) else NULL
        if conn == NULL:
            close(fd)
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
        epoll_ctl(s.ep, EPOLL_CTL_ADD, fd, &event)


# -------------------------------------------------------------------------------------- the requests

cdef inline int64_t content_length(const char* head, size_t n) noexcept nogil:
    """0 without one; −1 for one that is no number, or too large."""
    cdef const char* line = head
    cdef const char* end = head + n
    cdef int64_t value
    while line < end:
        if end - line > 15 and strncasecmp(line, b"content-length:", 15) == 0:
            line += 15
            while line < end and (line[0] == c' ' or line[0] == c'\t'):
                line += 1
            if line[0] < c'0' or line[0] > c'9':
                return -1
            value = 0
            while c'0' <= line[0] <= c'9':
                value = 10 * value + (line[0] - c'0')
                if value > BODY_MAX:
                    return -1
                line += 1
            return value
        while line < end and line[0] != c'\n':
            line += 1
        line += 1
    return 0

cdef inline bint grow_input(conn_t* conn, size_t room) noexcept nogil:
    cdef char* grown
    cdef size_t cap = conn.input_cap
    if conn.input_len + room <= cap:
        return True
    while cap < conn.input_len + room:
        cap = 2 * cap + 4096
    grown = <char*> realloc(conn.input, cap)
    if grown == NULL:
        return False
    conn.input = grown
    conn.input_cap = cap
    return True

cdef inline bint next_request(serving_t* s, conn_t* conn, int64_t at_ns, int64_t kernel_ns) noexcept nogil:
    """Post the request at the front of the input, if it is complete. False: it never can be."""
    cdef event_t* event
    cdef char* blank
    cdef int64_t length
    if conn.serial or conn.input_len == 0:
        return True
    if conn.head_len == 0:
        blank = <char*> memmem(conn.input, conn.input_len, b"\r\n\r\n", 4)
        if blank == NULL:
            return conn.input_len <= HEAD_MAX
        conn.head_len = <size_t> (blank - conn.input) + 4
        length = content_length(conn.input, conn.head_len)
        if length < 0 or conn.head_len > HEAD_MAX:
            return False
        conn.need = conn.head_len + <size_t> length
    if conn.input_len < conn.need:
        return True
    s.serials += 1
    count(&s.stats.requests, 1)
    conn.serial = s.serials
    event = event_new(EVENT_REQUEST, conn, at_ns, conn.need)
    if event == NULL:
        return False
    event.kernel_ns = kernel_ns
    event.head_len = conn.head_len
    memcpy(event.data, conn.input, conn.need)
    conn.input_len -= conn.need
    memmove(conn.input, conn.input + conn.need, conn.input_len)
    conn.head_len = conn.need = 0
    post_event(s, event)
    return True

cdef inline int64_t mapped(serving_t* s, int64_t stamp_ns, int64_t at_ns) noexcept nogil:
    """A receive stamp on our clock; 0 where there is none that can be true."""
    if stamp_ns == 0:
        return 0
    if at_ns - s.clock.sampled_ns > OFFSET_AGE_NS:
        clockmap_refresh(&s.clock)
    stamp_ns -= s.clock.offset_ns
    return stamp_ns if at_ns - 1_000_000_000 < stamp_ns <= at_ns else 0

cdef inline void readable(serving_t* s, conn_t* conn) noexcept nogil:
    """Take what is there; one read a round, so that nobody keeps the others from their turn."""
    cdef char control[128]
    cdef msghdr message
    cdef iovec part
    cdef Py_ssize_t n
    cdef int64_t at_ns
    memset(&message, 0, sizeof(message))
    part.iov_base = s.buffer
    part.iov_len = READ_SIZE
    message.msg_iov = &part
    message.msg_iovlen = 1
    message.msg_control = control
    message.msg_controllen = sizeof(control)
    n = recvmsg(conn.fd, &message, MSG_DONTWAIT)
    at_ns = monotonic_ns()
    if n < 0:
        if errno != EAGAIN and errno != EINTR:
            client_gone(s, conn)
        return
    if n == 0:
        # Our clients never half-close: whoever closes his side does not want the rest.
        client_gone(s, conn)
        return
    if conn.input_len + n > BODY_MAX + HEAD_MAX or not grow_input(conn, n):
        client_gone(s, conn)
        return
    memcpy(conn.input + conn.input_len, s.buffer, n)
    conn.input_len += n
    if not next_request(s, conn, at_ns, mapped(s, stamp_of(&message), at_ns)):
        client_gone(s, conn)


# ------------------------------------------------------------------------------------- the responses

cdef inline void finish(serving_t* s, conn_t* conn, int64_t now) noexcept nogil:
    """The last piece is out."""
    cdef int ending = conn.plan.ending
    free(conn.plan)
    conn.plan = NULL
    post_event(s, event_new(EVENT_FINISHED, conn, now, 0))
    if ending == ENDING_HOLD:
        return
    conn.serial = 0
    if ending != ENDING_KEEP:
        drop_conn(s, conn, ending == ENDING_RESET)
    elif not next_request(s, conn, now, 0):
        drop_conn(s, conn, False)

cdef inline void send_piece(serving_t* s, conn_t* conn, int64_t now) noexcept nogil:
    """One piece, or as much of it as the socket takes; then the next one's turn is scheduled."""
    cdef plan_t* plan = conn.plan
    cdef piece_t* piece = &plan.pieces[conn.index]
    cdef int64_t begin = plan.pieces[conn.index - 1].end if conn.index else 0
    cdef int64_t after = now
    cdef Py_ssize_t n
    if conn.before_ns == 0:
        conn.before_ns = now
    if conn.sent < piece.end:
        n = send(
            conn.fd, plan.data + conn.sent, <size_t> (piece.end - conn.sent),
            MSG_NOSIGNAL | MSG_DONTWAIT,
        )
        after = monotonic_ns()
        conn.tries += 1
        if n < 0 and errno != EAGAIN and errno != EINTR:
            client_gone(s, conn)
            return
        if n > 0:
            conn.sent += n
            count(&s.stats.bytes, n)
        if conn.sent < piece.end:
            if conn.tries == 1:
                count(&s.stats.blocked, 1)
            want_writable(s, conn, True)
            return
    note(s, conn, after, piece.end - begin)
    count(&s.stats.pieces, 1)
    conn.index += 1
    conn.before_ns = 0
    conn.tries = 0
    if conn.index < plan.count:
        schedule(s, conn)
    else:
        finish(s, conn, after)

cdef inline void change_listener(serving_t* s, int fd) noexcept nogil:
    """Close the one in use: connecting is refused until there is another."""
    if s.listening >= 0:
        watch_listener(s, EPOLL_CTL_DEL, 0)
        close(s.listening)
    s.listening = fd
    s.overfull = False
    watch_listener(s, EPOLL_CTL_ADD, EPOLLIN)

cdef inline void begin_plan(serving_t* s, plan_t* plan) noexcept nogil:
    cdef size_t fd = <size_t> <uint32_t> plan.conn
    cdef conn_t* conn = s.conns[fd] if fd < s.conns_cap else NULL
    if (
        conn == NULL or conn.ident != plan.conn or conn.serial != plan.serial
        or conn.plan != NULL or plan.count == 0
    ):
        free(plan)      # the client did not wait for it
        return
    conn.plan = plan
    conn.index = conn.sent = conn.before_ns = 0
    conn.tries = 0
    schedule(s, conn)

cdef inline void take_orders(serving_t* s) noexcept nogil:
    """What Python posted: plans, a listener, the wish for the log, the end."""
    cdef uint64_t ignored
    cdef plan_t* plan
    cdef plan_t* next
    cdef bint flush
    cdef bint changed
    cdef int listener
    read(s.inbox, &ignored, sizeof(ignored))
    pthread_mutex_lock(&s.lock)
    plan = s.plans
    s.plans = NULL
    flush = s.flush
    s.flush = False
    s.over = s.stopping
    changed = s.listener_changed
    listener = s.listener
    s.listener_changed = False
    s.listener = -1
    pthread_mutex_unlock(&s.lock)
    if changed:
        change_listener(s, listener)
    if flush:
        hand_over(s)
    while plan != NULL:
        next = plan.next
        begin_plan(s, plan)
        plan = next


# ------------------------------------------------------------------------------------------ the loop

cdef inline void look(serving_t* s) noexcept nogil:
    """Whatever the sockets have for us, without waiting."""
    cdef epoll_event events[EVENTS_PER_ROUND]
    cdef conn_t* conn
    cdef int ready = epoll_wait(s.ep, events, EVENTS_PER_ROUND, 0)
    cdef int i
    for i in range(ready):
        if events[i].data.ptr == NULL:
            accept_some(s)
            continue
        if events[i].data.ptr == <void*> &s.inbox:
            take_orders(s)
            continue
        conn = <conn_t*> events[i].data.ptr
        if not conn.dead and events[i].events & EPOLLOUT and conn.writable_wanted:
            want_writable(s, conn, False)
            if conn.plan != NULL:
                schedule(s, conn)
        if not conn.dead and events[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR):
            readable(s, conn)
    while s.dead != NULL:
        conn = s.dead
        s.dead = conn.next
        conn_free(conn)

cdef inline void sleep_until(serving_t* s, int64_t until_ns, int64_t now) noexcept nogil:
    cdef pollfd wait
    cdef timespec span
    cdef int64_t left = until_ns - now
    wait.fd = s.ep
    wait.events = POLLIN
    span.tv_sec = left // 1_000_000_000
    span.tv_nsec = left % 1_000_000_000
    count(&s.stats.wakeups, 1)
    if ppoll(&wait, 1, &span if until_ns else NULL, NULL) == 1:
        look(s)

cdef inline void* run_serving(void* arg) noexcept nogil:
    cdef serving_t* s = <serving_t*> arg
    cdef conn_t* conn
    cdef int64_t now
    cdef int sends = 0
    prctl(PR_SET_TIMERSLACK, 1)     # wake on time
    # Ask for turns that are short and come soon (Linux 6.12 and later; others ignore it, or refuse,
    # and nothing is lost). Real time, where it was asked for and is allowed, waits for nobody.
    harness_sched_setattr(0, 0, SLICE_NS)
    if s.realtime and harness_sched_setattr(SCHED_FIFO, 1, 0) == 0:
        count(&s.stats.realtime, 1)
    clockmap_refresh(&s.clock)
    while not s.over:
        now = monotonic_ns()
        if s.agenda.len and s.agenda.slots[0].at_ns <= now and sends < SENDS_PER_ROUND:
            sends += 1
            conn = <conn_t*> s.agenda.slots[0].what
            agenda_drop(&s.agenda, &conn.place)
            send_piece(s, conn, now)
        elif s.agenda.len and s.agenda.slots[0].at_ns <= now:
            sends = 0
            look(s)
        else:
            sends = 0
            sleep_until(s, s.agenda.slots[0].at_ns if s.agenda.len else 0, now)
    hand_over(s)
    return NULL
