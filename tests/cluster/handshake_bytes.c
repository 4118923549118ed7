/* What raw peers send when there is something to prove: replays, words cut short, changed, late or
 * out of turn, crowds, and silos that know nothing themselves. */
#include "handshake_kit.h"
#include "seed.h"

enum { KIND = GB_LINK_KINDS, WORD = GB_FRAME_HEADER_BYTES + GB_MAC_BYTES };

static int raw_socket(world *w)
{
    char host[64];
    uint16_t port;
    assert_int_equal(
        gb_address_split(gb_listener_address(w->listener), false, host, sizeof host, &port), 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

static void raw_send(int fd, const void *bytes, size_t size)
{
    assert_int_equal(send(fd, bytes, size, MSG_NOSIGNAL), (ssize_t)size);
}

/* Reads so many bytes; fewer when the other end closes. */
static size_t raw_read(world *w, int fd, uint8_t *out, size_t size)
{
    size_t have = 0;
    ssize_t came = -1;
    for (uint64_t start = gb_now(w->sys); have < size && came != 0;) {
        assert_true(gb_now(w->sys) - start < PATIENCE_MS * GB_MS);
        came = recv(fd, out + have, size - have, 0);
        if (came > 0)
            have += (size_t)came;
        else if (came < 0)
            gb_loop_wait(w->loop, TURN_MS * GB_MS);
    }
    return have;
}

/* The hello of a silo with a nonce, as a frame; the size. */
static size_t hello_frame(world *w, uint8_t *out, gb_buf *words, const uint8_t nonce[GB_MAC_BYTES])
{
    gb_hello hello = hello_of(3);
    gb_buf frame;
    hello.proves = true;
    memcpy(hello.word, nonce, sizeof hello.word);
    gb_buf_init(&frame, &w->mem);
    assert_int_equal(gb_hello_encode(words, &hello), 0);
    assert_int_equal(gb_frame_put(&frame, GB_HELLO, 0, words->data, words->size), 0);
    size_t size = frame.size;
    memcpy(out, frame.data, size);
    gb_buf_fini(&frame);
    return size;
}

/* The proof for what a silo has asked, as a frame of WORD bytes. */
static void proof_frame(world *w, uint8_t out[WORD], const gb_buf *words, const uint8_t ask[WORD],
                        const gb_secret *secret)
{
    uint8_t bound[GB_MAC_BYTES] = {0}, talk[GB_MAC_BYTES], proof[GB_MAC_BYTES];
    gb_buf frame;
    gb_frame asked;
    assert_int_equal(gb_frame_parse(ask, WORD, GB_MAC_BYTES, &asked), WORD);
    assert_int_equal(asked.kind, GB_HELLO_ASK);
    assert_int_equal(
        gb_talk(talk, secret->verifier.mac, words->data, words->size, asked.payload, bound), 0);
    assert_int_equal(gb_secret_prove(proof, secret, talk), 0);
    gb_buf_init(&frame, &w->mem);
    assert_int_equal(gb_frame_put(&frame, GB_HELLO_PROOF, 0, proof, sizeof proof), 0);
    memcpy(out, frame.data, WORD);
    gb_buf_fini(&frame);
}

typedef struct recorded {
    uint8_t hello[512], ask[WORD], proof[WORD];
    size_t hello_size;
} recorded;

/* A good handshake by hand. chunk: so many bytes at a time. */
static void by_hand(world *w, recorded *r, size_t chunk)
{
    gb_secret key = secret_of(KEY, "");
    uint8_t nonce[GB_MAC_BYTES] = {1, 2, 3};
    gb_buf words;
    gb_buf_init(&words, &w->mem);
    int fd = raw_socket(w);
    r->hello_size = hello_frame(w, r->hello, &words, nonce);
    for (size_t at = 0; at < r->hello_size; at += chunk) {
        size_t size = r->hello_size - at < chunk ? r->hello_size - at : chunk;
        raw_send(fd, r->hello + at, size);
        gb_loop_wait(w->loop, 0);
    }
    assert_int_equal(raw_read(w, fd, r->ask, WORD), WORD);
    proof_frame(w, r->proof, &words, r->ask, &key);
    for (size_t at = 0; at < WORD; at += chunk) {
        raw_send(fd, r->proof + at, WORD - at < chunk ? WORD - at : chunk);
        gb_loop_wait(w->loop, 0);
    }
    UNTIL(w, w->greeted);
    assert_int_equal(w->greeted_rc, 0);
    gb_buf_fini(&words);
    close(fd);
}

static void test_slowly(void **state)
{
    (void)state;
    world w;
    recorded r;
    open_world(&w, &(wish){.key = KEY});
    by_hand(&w, &r, 1);
    close_world(&w);
}

/* What was right once is right no more. */
static void test_replay(void **state)
{
    (void)state;
    world w;
    recorded r;
    uint8_t ask[WORD];
    open_world(&w, &(wish){.key = KEY});
    by_hand(&w, &r, 4096);
    w.greeted = 0;
    int fd = raw_socket(&w);
    raw_send(fd, r.hello, r.hello_size);
    assert_int_equal(raw_read(&w, fd, ask, WORD), WORD);
    assert_true(memcmp(ask, r.ask, WORD) != 0);
    raw_send(fd, r.proof, WORD);
    UNTIL(&w, w.greeted);
    assert_int_equal(w.greeted_rc, GB_EDENIED);
    close(fd);
    w.greeted = 0;
    fd = raw_socket(&w); /* all at once, without listening */
    raw_send(fd, r.hello, r.hello_size);
    raw_send(fd, r.proof, WORD);
    UNTIL(&w, w.greeted);
    assert_true(w.greeted_rc < 0);
    close(fd);
    close_world(&w);
}

/* Cut anywhere, or with any byte changed: nobody comes in, and nothing is left. */
static void test_cut_and_changed(void **state)
{
    (void)state;
    world w;
    recorded r;
    seed s = seed_start("handshake");
    gb_secret key = secret_of(KEY, "");
    open_world(&w, &(wish){.key = KEY});
    by_hand(&w, &r, 4096);
    for (size_t cut = 0; cut < r.hello_size + WORD; cut++) {
        uint8_t ask[WORD], proof[WORD], nonce[GB_MAC_BYTES] = {9};
        bool change = seed_below(&s, 2) && cut != 3 && cut != r.hello_size + 3; /* unused flags */
        gb_buf words;
        gb_buf_init(&words, &w.mem);
        int fd = raw_socket(&w);
        size_t size = hello_frame(&w, r.hello, &words, nonce);
        w.greeted = 0;
        if (cut < size && change) r.hello[cut] ^= (uint8_t)(1 + seed_below(&s, 255));
        raw_send(fd, r.hello, cut < size && !change ? cut : size);
        if (cut >= size) {
            assert_int_equal(raw_read(&w, fd, ask, WORD), WORD);
            proof_frame(&w, proof, &words, ask, &key);
            if (change) proof[cut - size] ^= (uint8_t)(1 + seed_below(&s, 255));
            raw_send(fd, proof, change ? WORD : cut - size);
        }
        shutdown(fd, SHUT_WR);
        UNTIL(&w, w.greeted);
        assert_true(w.greeted_rc < 0);
        gb_buf_fini(&words);
        close(fd);
    }
    close_world(&w);
}

/* Words at the wrong time. */
static void test_out_of_turn(void **state)
{
    (void)state;
    static const uint8_t kinds[] = {GB_HELLO_WELCOME, GB_HELLO_REFUSED, GB_HELLO_ASK,
                                    GB_HELLO_PROOF, KIND};
    for (size_t i = 0; i < sizeof kinds; i++)
        for (int later = 0; later < 2; later++) {
            world w;
            recorded r;
            uint8_t nonce[GB_MAC_BYTES] = {5}, ask[WORD];
            gb_buf words, frame;
            open_world(&w, &(wish){.key = KEY});
            gb_buf_init(&words, &w.mem);
            gb_buf_init(&frame, &w.mem);
            int fd = raw_socket(&w);
            r.hello_size = hello_frame(&w, r.hello, &words, nonce);
            if (later) {
                raw_send(fd, r.hello, r.hello_size);
                assert_int_equal(raw_read(&w, fd, ask, WORD), WORD);
            }
            assert_int_equal(gb_frame_put(&frame, kinds[i], 0, nonce, sizeof nonce), 0);
            raw_send(fd, frame.data, frame.size);
            UNTIL(&w, w.greeted);
            bool proof = later && kinds[i] == GB_HELLO_PROOF;
            assert_int_equal(w.greeted_rc, proof ? GB_EDENIED : GB_EINVAL);
            gb_buf_fini(&words);
            gb_buf_fini(&frame);
            close(fd);
            close_world(&w);
        }
}

/* A silo that asks, and then shows that it does not know the secret itself, or asks twice. */
static void answer_by_hand(world *w, const uint8_t kind, const char *why)
{
    gb_secret key = secret_of(KEY, "");
    char address[64];
    uint8_t in[600], nonce[GB_MAC_BYTES] = {4};
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t size = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    gb_buf frame;
    gb_hello welcome = {.role = GB_LINK_CALLS, .silo = 7, .cluster = "one", .proves = true};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &size), 0);
    snprintf(address, sizeof address, "127.0.0.1:%d", ntohs(at.sin_port));
    dial_at(w, address, NULL, 3, &key);
    int fd = -1;
    assert_int_equal(fcntl(listener, F_SETFL, O_NONBLOCK), 0);
    UNTIL(w, (fd = accept(listener, NULL, NULL)) >= 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(raw_read(w, fd, in, GB_FRAME_HEADER_BYTES), GB_FRAME_HEADER_BYTES);
    gb_buf_init(&frame, &w->mem);
    assert_int_equal(gb_frame_put(&frame, GB_HELLO_ASK, 0, nonce, sizeof nonce), 0);
    if (kind == GB_HELLO_WELCOME) {
        size_t mark;
        assert_int_equal(gb_frame_begin(&frame, &mark), 0);
        assert_int_equal(gb_hello_encode(&frame, &welcome), 0);
        assert_int_equal(gb_frame_end(&frame, mark, kind, 0), 0);
    } else {
        assert_int_equal(gb_frame_put(&frame, kind, 0, nonce, sizeof nonce), 0);
    }
    raw_send(fd, frame.data, frame.size);
    gb_buf_fini(&frame);
    UNTIL(w, w->client.closed);
    assert_int_equal(w->client.ready, 0);
    if (!strstr(w->client.why, why)) fail_msg("%s", w->client.why);
    close(fd);
    close(listener);
}

static void test_false_silo(void **state)
{
    (void)state;
    world w;
    open_world(&w, &(wish){0});
    answer_by_hand(&w, GB_HELLO_WELCOME, "it does not prove that it knows the key");
    answer_by_hand(&w, GB_HELLO_ASK, "it asks for a proof that was not offered");
    answer_by_hand(&w, GB_HELLO_PROOF, "no welcome but a frame of kind 5");
    close_world(&w);
}

/* ---- many, and slow ones ---- */

static void test_too_slow(void **state)
{
    (void)state;
    world w;
    recorded r;
    uint8_t nonce[GB_MAC_BYTES] = {6}, ask[WORD];
    gb_buf words;
    open_world(&w, &(wish){.key = KEY, .timeout_ns = 30 * GB_MS});
    gb_buf_init(&words, &w.mem);
    int fd = raw_socket(&w);
    r.hello_size = hello_frame(&w, r.hello, &words, nonce);
    raw_send(fd, r.hello, r.hello_size);
    assert_int_equal(raw_read(&w, fd, ask, WORD), WORD); /* and then nothing */
    UNTIL(&w, w.greeted);
    assert_int_equal(w.greeted_rc, GB_ETIMEDOUT);
    gb_buf_fini(&words);
    close(fd);
    close_world(&w);
}

/* Half of them have said hello and prove nothing. Who knows the secret comes in all the same. */
static void test_flood(void **state)
{
    (void)state;
    enum { MANY = 300 };
    world w;
    recorded r;
    int far[MANY];
    uint8_t nonce[GB_MAC_BYTES] = {7};
    gb_secret key = secret_of(KEY, "");
    gb_buf words;
    open_world(&w, &(wish){.key = KEY});
    gb_buf_init(&words, &w.mem);
    r.hello_size = hello_frame(&w, r.hello, &words, nonce);
    gb_buf_fini(&words);
    int64_t most = 0;
    for (int i = 0; i < MANY; i++) {
        far[i] = raw_socket(&w);
        if (i % 2) raw_send(far[i], r.hello, r.hello_size);
        UNTIL(&w, w.greeted >= i + 1 - ROOM);
        int64_t used = atomic_load(&w.mem.bytes);
        if (used > most) most = used;
        if (i == 3 * ROOM) most = used; /* it is full */
        if (i > 3 * ROOM) assert_true(used <= most + 4096);
    }
    dial(&w, 3, &key);
    UNTIL(&w, w.client.ready);
    for (int i = 0; i < MANY; i++) close(far[i]);
    close_world(&w);
}

int handshake_bytes(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slowly),          cmocka_unit_test(test_replay),
        cmocka_unit_test(test_cut_and_changed), cmocka_unit_test(test_out_of_turn),
        cmocka_unit_test(test_false_silo),      cmocka_unit_test(test_too_slow),
        cmocka_unit_test(test_flood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
