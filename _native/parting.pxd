# How the tap's exchanges and connections end, and what epoll is asked for. Header-only.

from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport calloc, free

from accepting cimport SO_LINGER, linger_t
from agenda cimport agenda_drop
from buffers cimport buf_free, buf_trim
from exchanges cimport (
    ENDING_RESET, UP_BACKOFF, UP_CONNECTING, UP_NONE, door_free, door_t, end_t, exchange_t,
    explain, pair_t, tap_t,
)
from frames cimport split_free
from histogram cimport observe
from http_state cimport http_free
from linux cimport (
    EPOLLIN, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, SOL_SOCKET, close, count, epoll_ctl,
    epoll_event, monotonic_ns, setsockopt,
)
from stamps cimport OFFSET_AGE_NS, SKEW_NS, clockmap_refresh
from store cimport OUT_CANCELLED, OUT_COMPLETE, store_seal, store_t

cdef extern from "<sys/socket.h>" nogil:
    enum: SHUT_WR, SHUT_RDWR
    int shutdown(int fd, int how)


cdef inline void watch(tap_t* t, end_t* end, uint32_t mask) noexcept nogil:
    """From now on, ask epoll for this. With 0 it forgets the socket: errors and hang-ups, which it
    would tell of all the same, cannot then wake us again and again."""
    cdef epoll_event event
    cdef int how = EPOLL_CTL_MOD
    if mask == end.mask or end.fd < 0:
        return
    if end.mask == 0:
        how = EPOLL_CTL_ADD
    elif mask == 0:
        how = EPOLL_CTL_DEL
    event.events = mask
    event.data.ptr = end
    end.mask = mask if epoll_ctl(t.ep, how, end.fd, &event) == 0 else 0

# ------------------------------------------------------------------------------------------- clocks

cdef inline bint refresh_clock(tap_t* t) noexcept nogil:
    """Whether the wall clock was stepped. If so, every exchange under way says so."""
    cdef door_t* door = t.doors
    cdef pair_t* pair
    if not clockmap_refresh(&t.clock):
        return False
    count(&t.stats.clock_steps, 1)
    while door != NULL:
        pair = door.pairs
        while pair != NULL:
            if pair.exchange != NULL:
                pair.exchange.store.clock_stepped = True
            pair = pair.next
        door = door.next
    return True

cdef inline int64_t arrival(
    tap_t* t, pair_t* pair, end_t* end, int64_t earliest_ns, int64_t real_ns, int64_t user_ns,
    bint* by_kernel,
) noexcept nogil:
    """The stamp of a read on CLOCK_MONOTONIC, never before that of the read before. `real_ns`: the
    kernel's, 0 where it gave none; `earliest_ns`: what is known to have come before."""
    cdef int64_t at
    cdef bint stepped
    if real_ns:
        if user_ns - t.clock.sampled_ns > OFFSET_AGE_NS:
            refresh_clock(t)
        at = real_ns - t.clock.offset_ns
        if at > user_ns + SKEW_NS or at < earliest_ns - SKEW_NS:
            stepped = refresh_clock(t)
            at = real_ns - t.clock.offset_ns
            if at > user_ns + SKEW_NS or (stepped and at < earliest_ns - SKEW_NS):
                # Stamped before the step that we have just noticed, or by a clock unknown to us.
                if pair.exchange != NULL:
                    pair.exchange.store.clock_stepped = True
                real_ns = 0
    by_kernel[0] = real_ns != 0
    if real_ns == 0:
        at = user_ns
        count(&t.stats.user_stamps, 1)
    else:
        count(&t.stats.kernel_stamps, 1)
        if at > user_ns:
            at = user_ns
    if at < end.last_ns:
        at = end.last_ns
    end.last_ns = at
    return at

# -------------------------------------------------------------------------------------- connections

cdef inline void close_end(tap_t* t, end_t* end) noexcept nogil:
    """Closing alone would not do while a child, just forked, holds a copy of the descriptor: epoll
    would go on telling of the socket, and the other side would not hear of the end."""
    if end.fd < 0:
        return
    watch(t, end, 0)
    shutdown(end.fd, SHUT_RDWR)
    close(end.fd)
    end.fd = -1

cdef inline void close_up(tap_t* t, pair_t* pair) noexcept nogil:
    close_end(t, &pair.up)
    if pair.up_state == UP_CONNECTING or pair.up_state == UP_BACKOFF:
        agenda_drop(&t.agenda, &pair.place)
    pair.up_state = UP_NONE

cdef inline void wake_listeners(tap_t* t) noexcept nogil:
    cdef door_t* door = t.doors
    t.overfull = False
    while door != NULL:
        if not door.closing:
            watch(t, &door.listener, EPOLLIN)
        door = door.next

cdef inline void post(tap_t* t, exchange_t* ex) noexcept nogil:
    """For Python, at the end of this round."""
    ex.link.next = NULL
    if t.done_last != NULL:
        t.done_last.link.next = &ex.link
    else:
        t.done = ex
    t.done_last = ex

cdef inline void forget_door(tap_t* t, door_t* door) noexcept nogil:
    """It is closed, and nobody is left."""
    cdef exchange_t* note = <exchange_t*> calloc(1, sizeof(exchange_t))
    cdef door_t** at = &t.doors
    while at[0] != door:
        at = &at[0].next
    at[0] = door.next
    if note != NULL:
        note.door = door.ident
        note.note = True
        post(t, note)
    door_free(door)

cdef inline void drop_pair(tap_t* t, pair_t* pair) noexcept nogil:
    """Close both sides. The exchange must have been sealed."""
    cdef door_t* door = <door_t*> pair.door
    cdef linger_t at_once
    if pair.dead:
        return
    if pair.ending == ENDING_RESET and pair.down.fd >= 0:
        at_once.l_onoff = 1
        at_once.l_linger = 0
        setsockopt(pair.down.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once))
        watch(t, &pair.down, 0)
        close(pair.down.fd)  # a shutdown would say FIN first
        pair.down.fd = -1
    close_end(t, &pair.down)
    close_up(t, pair)
    agenda_drop(&t.agenda, &pair.place)
    if pair.prev != NULL:
        pair.prev.next = pair.next
    else:
        door.pairs = pair.next
    if pair.next != NULL:
        pair.next.prev = pair.prev
    pair.dead = True
    pair.next_dead = t.dead
    t.dead = pair
    t.pairs -= 1
    count(&t.stats.connections, -1)
    if t.overfull:
        wake_listeners(t)
    if door.closing and door.pairs == NULL:
        forget_door(t, door)

cdef inline void pair_free(pair_t* pair) noexcept nogil:
    buf_free(&pair.input)
    buf_free(&pair.held)
    buf_free(&pair.ends)
    free(pair)

# ---------------------------------------------------------------------------------------- exchanges

cdef inline void seal(tap_t* t, pair_t* pair, int outcome) noexcept nogil:
    """The end of an exchange: to Python it goes."""
    cdef exchange_t* ex = pair.exchange
    cdef store_t* s = ex.store
    cdef int64_t now = monotonic_ns()
    if now - t.clock.sampled_ns > OFFSET_AGE_NS:
        refresh_clock(t)
    s.outcome = outcome
    s.err = ex.err
    s.due_ns = ex.request_ns
    if pair.connected_ns >= ex.request_ns:  # else it stood before, and nobody waited for it
        s.connected_ns = pair.connected_ns
    s.closed_ns = now
    s.realtime_offset_ns = t.clock.offset_ns
    s.comments = pair.split.comments
    if outcome == OUT_COMPLETE:
        pair.served = True
        ex.end_sent_ns = pair.before_ns
    else:
        count(&t.stats.errors, 1)
    if s.sent_ns:
        observe(&t.request_delay, s.sent_ns - ex.request_ns)
    http_free(&pair.http)
    split_free(&pair.split)
    http_free(&ex.asking)
    store_seal(s)
    buf_trim(&ex.asked)
    buf_trim(&ex.out)
    pair.exchange = NULL
    post(t, ex)

cdef inline void over(pair_t* pair, int outcome, int err) noexcept nogil:
    """Nothing more will come from the server; sealed once the agent has it all."""
    pair.exchange.over = True
    pair.exchange.outcome = outcome
    pair.exchange.err = err

cdef inline void cancel(tap_t* t, pair_t* pair, const char* why) noexcept nogil:
    """The end of a pair, whatever it was at."""
    if pair.exchange != NULL:
        explain(pair.exchange, why)
        pair.exchange.err = 0
        seal(t, pair, OUT_CANCELLED)
    drop_pair(t, pair)
