# The tap's side to the agents: doors, connections, requests in. Header-only; part of the tap's
# thread.
#
# Every event on a pair ends in settle(), which does whatever can be done now: begin the next request,
# pass on more of one, seal what is over, close. So events only note what happened, and nothing is
# re-entered.

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc
from libc.string cimport memcmp, memmove, memset

from accepting cimport ACCEPTS_PER_ROUND, ACCEPT_REST_NS, accept4
from agenda cimport agenda_put, agenda_reserve, nowhere
from asking cimport begin, head_end, take_body
from buffers cimport buf_append, buf_free
from exchanges cimport (
    BODY_MAX, ENDING_CLOSE, ENDING_NONE, ENDING_RESET, END_DOWN, END_UP, FRAME_MAX, HEAD_MAX,
    HELD_MAX, READ_SIZE, UP_CONNECTING, UP_NONE, UP_READY, door_t, end_t, exchange_t, explain,
    pair_t, strlen, tap_t, waiting,
)
from frames cimport split_init
from handing cimport flush, hand_on
from http_state cimport http_init
from linux cimport (
    EAGAIN, ECONNABORTED, EINTR, EPOLLIN, EPOLLOUT, EPOLLRDHUP, IPPROTO_TCP, MSG_DONTWAIT,
    SOCK_CLOEXEC, SOCK_NONBLOCK, TCP_NODELAY, close, count, errno, iovec, monotonic_ns, msghdr,
    recvmsg, setsockopt,
)
from parting cimport (
    SHUT_WR, arrival, cancel, close_up, drop_pair, forget_door, over, seal, shutdown, watch,
)
from stamps cimport ask_for_stamps, stamp_of
from store cimport OUT_CANCELLED, OUT_CONNECT, OUT_NOT_SENT
from upstream cimport connected, go_on_connecting, open_up, read_up, send_up
from wire cimport MODE_WHOLE

cdef extern from "<stdio.h>" nogil:
    int snprintf(char* to, size_t n, const char* pattern, ...)

cdef extern from "<string.h>" nogil:
    char* strerror(int err)


cdef enum:
    ANSWER_MAX = 1024
    LINGER_NS = 2_000_000_000
    INPUT_KEPT = 1048576
    READS_AT_THE_END_MAX = 64

# ----------------------------------------------------------------------------------- our own answers

cdef inline void answer(pair_t* pair, const char* status, const char* said, bint is_head) noexcept nogil:
    """A response of ours, after which the connection is closed."""
    cdef char head[256]
    cdef char body[ANSWER_MAX]
    cdef int body_len = snprintf(body, sizeof(body), b'{"error":"harness tap: %s"}\n', said)
    cdef int head_len
    if body_len >= ANSWER_MAX:
        body_len = ANSWER_MAX - 1
    head_len = snprintf(
        head, sizeof(head),
        b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
        b"Connection: close\r\n\r\n",
        status, body_len,
    )
    hand_on(pair, head, <size_t> head_len)
    if not is_head:
        hand_on(pair, body, <size_t> body_len)
    pair.ending = ENDING_CLOSE

cdef inline void refuse(pair_t* pair, int status) noexcept nogil:
    """A request that is not passed on, or not any further."""
    cdef const char* line = b"400 Bad Request"
    cdef const char* why = b"this is not an HTTP/1.1 request that it can pass on"
    if status == 413:
        line = b"413 Content Too Large"
        why = b"the body is over its limit of 256 MiB"
    elif status == 431:
        line = b"431 Request Header Fields Too Large"
        why = b"the request's head is over its limit of 64 KiB"
    elif status == 500:
        line = b"500 Internal Server Error"
        why = b"out of memory"
    elif status == 501:
        line = b"501 Not Implemented"
        why = b"it passes on plain HTTP only, no CONNECT and no Upgrade"
    if pair.exchange != NULL:
        explain(pair.exchange, why)
        over(pair, OUT_CANCELLED if pair.exchange.store.sent_ns else OUT_NOT_SENT, 0)
    if pair.exchange == NULL or pair.exchange.store.headers_ns == 0:
        answer(pair, line, why, False)
    pair.ending = ENDING_CLOSE

cdef inline void unreachable(tap_t* t, pair_t* pair, int err) noexcept nogil:
    """No connection to the server. Nobody is told before there is a request."""
    cdef door_t* door = <door_t*> pair.door
    cdef exchange_t* ex = pair.exchange
    cdef char said[ANSWER_MAX]
    if ex == NULL:
        return
    snprintf(
        said, sizeof(said), b"cannot connect to %.*s: %s", <int> door.label.len, door.label.data,
        strerror(err),
    )
    over(pair, OUT_CONNECT, err)
    answer(pair, b"502 Bad Gateway", said, pair.http.head_request)

# ------------------------------------------------------------------------------------------ requests

cdef inline bint next_request(pair_t* pair) noexcept nogil:
    """Whether the input begins with a request, which is now the pair's exchange."""
    cdef const char* p
    cdef size_t n
    cdef size_t used
    cdef int status = 0
    while pair.input_at < pair.input.len and (
        pair.input.data[pair.input_at] == 13 or pair.input.data[pair.input_at] == 10
    ):
        pair.input_at += 1  # blank lines before a request are nothing (RFC 9112, 2.2)
        pair.scanned = 0
    p = pair.input.data + pair.input_at
    n = pair.input.len - pair.input_at
    if n == 0:
        return False
    used = head_end(p, n, &pair.scanned)
    if used > HEAD_MAX or (used == 0 and n > HEAD_MAX):
        refuse(pair, 431)
        return False
    if used == 0:
        return False
    pair.exchange = begin(pair, p, used, &status)
    if pair.exchange == NULL:
        refuse(pair, status)
        return False
    pair.input_at += used
    pair.scanned = 0
    pair.received = 0
    pair.passed = 0
    pair.first_send_ns = 0
    pair.before_ns = 0
    pair.ends.len = 0
    pair.ends_at = 0
    pair.exchange.request_ns = pair.input_ns
    pair.exchange.by_kernel = pair.input_by_kernel
    http_init(
        &pair.http, pair.exchange.asked.len > 5 and memcmp(p, b"HEAD ", 5) == 0, HEAD_MAX
    )
    split_init(&pair.split, MODE_WHOLE, FRAME_MAX)
    if status:
        refuse(pair, status)
        return False
    return True

cdef inline void pass_on(tap_t* t, pair_t* pair) noexcept nogil:
    """As much of the request as there is."""
    cdef exchange_t* ex = pair.exchange
    cdef size_t used
    cdef int err
    cdef int status
    if not ex.asked_all and pair.input_at < pair.input.len:
        status = take_body(
            ex, pair.input.data + pair.input_at, pair.input.len - pair.input_at, &used
        )
        pair.input_at += used
        ex.request_ns = pair.input_ns
        ex.by_kernel = pair.input_by_kernel
        if status:
            close_up(t, pair)
            refuse(pair, status)
            return
    if pair.input_at == pair.input.len:
        if pair.input.cap > INPUT_KEPT:
            buf_free(&pair.input)
        pair.input.len = 0
        pair.input_at = 0
    if pair.up_state == UP_NONE:
        err = open_up(t, pair, monotonic_ns())
        if err:
            unreachable(t, pair, err)
    elif pair.up_state == UP_READY:
        send_up(t, pair)
        if pair.up_state == UP_NONE and not ex.over:
            err = open_up(t, pair, monotonic_ns())  # the server had closed it
            if err:
                unreachable(t, pair, err)

# ------------------------------------------------------------------------------------------ settling

cdef inline void end_pair(tap_t* t, pair_t* pair) noexcept nogil:
    """Everything is sent, and the connection is to go. Closed at once, with something unread, it
    would be reset, and the agent might lose what it has not read yet: so wait for its end."""
    if pair.ending == ENDING_RESET or (<door_t*> pair.door).closing:
        drop_pair(t, pair)
        return
    close_up(t, pair)
    pair.lingering = True
    shutdown(pair.down.fd, SHUT_WR)
    agenda_put(&t.agenda, monotonic_ns() + LINGER_NS, 0, pair, &pair.place)

cdef inline void ask_for_more(pair_t* pair, uint32_t* down, uint32_t* up) noexcept nogil:
    """What epoll is to tell of next."""
    cdef exchange_t* ex = pair.exchange
    cdef size_t unused = pair.input.len - pair.input_at
    cdef bint agent_may = unused < HELD_MAX
    down[0] = <uint32_t> EPOLLRDHUP
    up[0] = 0
    if ex != NULL and not ex.asked_all and ex.out.len - ex.out_sent >= HELD_MAX:
        agent_may = False
    if agent_may or pair.ending != ENDING_NONE:
        down[0] |= <uint32_t> EPOLLIN
    if waiting(pair):
        down[0] |= <uint32_t> EPOLLOUT
    if pair.up_state == UP_CONNECTING:
        up[0] = EPOLLIN | EPOLLRDHUP | EPOLLOUT
    elif pair.up_state == UP_READY:
        if waiting(pair) < HELD_MAX:
            up[0] = EPOLLIN | EPOLLRDHUP
        if ex != NULL and ex.out_sent < ex.out.len:
            up[0] |= <uint32_t> EPOLLOUT

cdef inline void settle(tap_t* t, pair_t* pair) noexcept nogil:
    cdef uint32_t down
    cdef uint32_t up
    while not pair.dead:
        if pair.gone:
            cancel(t, pair, b"the agent closed its connection")
        elif pair.exchange != NULL and pair.exchange.over:
            if waiting(pair):
                break
            seal(t, pair, pair.exchange.outcome)
        elif pair.exchange != NULL:
            pass_on(t, pair)
            if not pair.gone and not pair.exchange.over:
                break
        elif pair.lingering:
            break
        elif pair.ending != ENDING_NONE:
            if waiting(pair):
                break
            end_pair(t, pair)
        elif next_request(pair):
            count(&t.stats.requests, 1)
        elif pair.ending == ENDING_NONE:
            break
    if pair.dead:
        return
    ask_for_more(pair, &down, &up)
    watch(t, &pair.down, down)
    watch(t, &pair.up, up)

# -------------------------------------------------------------------------------------------- events

cdef inline void agent_gone(tap_t* t, pair_t* pair) noexcept nogil:
    if pair.exchange == NULL and pair.ending != ENDING_NONE:
        drop_pair(t, pair)
    else:
        pair.gone = True

cdef inline void read_down(tap_t* t, pair_t* pair) noexcept nogil:
    """One read a round, so that nobody keeps the others from their turn."""
    cdef char control[128]
    cdef msghdr message
    cdef iovec part
    cdef Py_ssize_t n
    cdef int64_t user_ns
    memset(&message, 0, sizeof(message))
    part.iov_base = t.buffer
    part.iov_len = READ_SIZE
    message.msg_iov = &part
    message.msg_iovlen = 1
    message.msg_control = control
    message.msg_controllen = sizeof(control)
    n = recvmsg(pair.down.fd, &message, MSG_DONTWAIT)
    user_ns = monotonic_ns()
    if n < 0:
        if errno != EAGAIN and errno != EINTR:
            agent_gone(t, pair)
        return
    if n == 0:
        # Whoever closes his side does not want the rest: half-closing is not told from leaving.
        agent_gone(t, pair)
        return
    if pair.ending != ENDING_NONE:
        return  # nothing that it says now is heard
    pair.input_ns = arrival(
        t, pair, &pair.down, pair.down.last_ns, stamp_of(&message), user_ns,
        &pair.input_by_kernel,
    )
    if pair.input_at:
        memmove(
            pair.input.data, pair.input.data + pair.input_at, pair.input.len - pair.input_at
        )
        pair.input.len -= pair.input_at
        pair.input_at = 0
    pair.gone = buf_append(&pair.input, t.buffer, <size_t> n) != 0

cdef inline void on_down(tap_t* t, pair_t* pair, uint32_t events) noexcept nogil:
    if events & <uint32_t> EPOLLOUT:
        flush(t, pair)
    if events & <uint32_t> EPOLLIN or (
        events & ~<uint32_t> EPOLLOUT and pair.down.mask & <uint32_t> EPOLLIN
    ):
        read_down(t, pair)
    elif events & ~<uint32_t> EPOLLOUT:
        agent_gone(t, pair)  # and what it still had to say has no room
    settle(t, pair)

cdef inline void on_up(tap_t* t, pair_t* pair, uint32_t events, int64_t now) noexcept nogil:
    cdef int err = 0
    if pair.up_state == UP_CONNECTING:
        err = connected(t, pair, now)
        if err:
            unreachable(t, pair, err)
    elif events & ~<uint32_t> EPOLLOUT:
        read_up(t, pair, 0, HELD_MAX)
    settle(t, pair)

cdef inline void on_time(tap_t* t, pair_t* pair, int64_t now) noexcept nogil:
    """Something took too long: the agent's end, or a connection attempt."""
    cdef int err
    if pair.lingering or (<door_t*> pair.door).closing:
        if pair.exchange != NULL:
            cancel(t, pair, b"the door was closed")
        else:
            drop_pair(t, pair)
        return
    if pair.up_state == UP_CONNECTING:
        close_up(t, pair)
        pair.tried += 1
    pair.up_state = UP_NONE
    err = go_on_connecting(t, pair, now)
    if err:
        unreachable(t, pair, err)
    settle(t, pair)

# --------------------------------------------------------------------------------------------- doors

cdef inline void rest_listeners(tap_t* t) noexcept nogil:
    """No descriptor or no memory for another connection. The listener stays readable all the same:
    look at it again when one of ours has closed, or after a while, for others may have closed."""
    cdef door_t* door = t.doors
    t.overfull = True
    t.accept_again_ns = monotonic_ns() + ACCEPT_REST_NS
    while door != NULL:
        watch(t, &door.listener, 0)
        door = door.next

cdef inline pair_t* pair_new(tap_t* t, door_t* door, int fd) noexcept nogil:
    cdef pair_t* pair = NULL
    if agenda_reserve(&t.agenda, <size_t> t.pairs + 1) == 0:
        pair = <pair_t*> calloc(1, sizeof(pair_t))
    if pair == NULL:
        return NULL
    pair.door = door
    pair.down.kind = END_DOWN
    pair.down.fd = fd
    pair.down.owner = pair
    pair.up.kind = END_UP
    pair.up.fd = -1
    pair.up.owner = pair
    pair.place = nowhere()
    pair.next = door.pairs
    if door.pairs != NULL:
        door.pairs.prev = pair
    door.pairs = pair
    t.pairs += 1
    count(&t.stats.connections, 1)
    return pair

cdef inline void accept_some(tap_t* t, door_t* door) noexcept nogil:
    cdef pair_t* pair
    cdef int on = 1
    cdef int fd
    cdef int i
    for i in range(ACCEPTS_PER_ROUND):
        if door.listener.mask == 0:
            return
        fd = accept4(door.listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)
        if fd < 0:
            if errno != EAGAIN and errno != EINTR and errno != ECONNABORTED:
                rest_listeners(t)
            return
        pair = pair_new(t, door, fd)
        if pair == NULL:
            close(fd)
            rest_listeners(t)
            return
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on))
        if t.timestamps:
            ask_for_stamps(fd)
        open_up(t, pair, monotonic_ns())  # if it fails, again when there is a request
        settle(t, pair)

cdef inline void read_the_rest(tap_t* t, pair_t* pair) noexcept nogil:
    """Of the response, what the kernel has by now."""
    cdef uint64_t before
    cdef int i
    for i in range(READS_AT_THE_END_MAX):
        if pair.gone or pair.up_state != UP_READY:
            return
        if pair.exchange == NULL or pair.exchange.over:
            return
        before = pair.received
        read_up(t, pair, 0, BODY_MAX)
        if pair.received == before:
            return

cdef inline void close_door(tap_t* t, door_t* door) noexcept nogil:
    """Nobody comes in any more. What the server has sent whole is still passed on."""
    cdef pair_t* pair = door.pairs
    cdef pair_t* following
    watch(t, &door.listener, 0)
    close(door.listener.fd)
    door.listener.fd = -1
    door.closing = True
    if pair == NULL:
        forget_door(t, door)
    while pair != NULL:  # with the last pair the door itself goes
        following = pair.next
        read_the_rest(t, pair)
        if pair.exchange != NULL and not pair.exchange.over:
            cancel(t, pair, b"the door was closed")
        else:
            if pair.ending == ENDING_NONE:
                pair.ending = ENDING_CLOSE
            agenda_put(&t.agenda, monotonic_ns() + LINGER_NS, 0, pair, &pair.place)
            settle(t, pair)
            if not pair.dead and pair.lingering:
                drop_pair(t, pair)
        pair = following
