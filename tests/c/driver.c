/*
 * xshm_driver.h against the library: two implementations of one protocol, in one process, over two mappings of a section.
 *
 *   driver golden            prints the section after each step of a session, with zeros for process ids and where later
 *                           headers may be
 *   driver exchange COUNT    COUNT messages in each direction at the same time, first without loss, then with eviction
 *   driver mutated COUNT     COUNT faulty sections, for which both receivers and both senders must give the same results
 *   driver control COUNT     COUNT faulty control blocks, likewise
 */
#ifndef _WIN32
#define _GNU_SOURCE
#endif
#include "xshm.h"
#include "xshm_driver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "platform.h"
#ifndef _WIN32
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#endif

#define PATIENCE 20000
#define LIMIT 64

#define CHECK(condition)                                                                             \
    do {                                                                                             \
        if (!(condition)) {                                                                          \
            char why_[256] = "";                                                                     \
            shm_last_error_message(why_, sizeof why_);                                               \
            fprintf(stderr, "%s:%d: %s; last error: %s\n", __FILE__, __LINE__, #condition, why_);     \
            exit(1);                                                                                 \
        }                                                                                            \
    } while (0)

/* ---------------------------------------------------------------------------------------- sections and events */

static unsigned char *map(intptr_t section, uint32_t *size)
{
    void *base;
#ifdef _WIN32
    MEMORY_BASIC_INFORMATION information;
    base = MapViewOfFile((HANDLE)section, FILE_MAP_READ | FILE_MAP_WRITE, 0, 0, 0);
    CHECK(base && VirtualQuery(base, &information, sizeof information));
    *size = (uint32_t)information.RegionSize;
#else
    struct stat information;
    CHECK(fstat((int)section, &information) == 0);
    *size = (uint32_t)information.st_size;
    base = mmap(NULL, *size, PROT_READ | PROT_WRITE, MAP_SHARED, (int)section, 0);
    CHECK(base != MAP_FAILED);
#endif
    return base;
}

static void unmap(unsigned char *base, uint32_t size)
{
#ifdef _WIN32
    (void)size;
    UnmapViewOfFile(base);
#else
    munmap(base, size);
#endif
}

/* Makes a section with these contents, which no other process uses. */
static intptr_t section_of(const unsigned char *bytes, uint32_t size)
{
    unsigned char *base;
#ifdef _WIN32
    intptr_t section = (intptr_t)CreateFileMappingW(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, size, NULL);
    CHECK(section);
#else
    intptr_t section = memfd_create("mutant", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CHECK(section >= 0 && ftruncate((int)section, size) == 0);
    CHECK(fcntl((int)section, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0);
#endif
    base = map(section, &size);
    memcpy(base, bytes, size);
    unmap(base, size);
    return section;
}

static void close_section(intptr_t section)
{
#ifdef _WIN32
    CloseHandle((HANDLE)section);
#else
    close((int)section);
#endif
}

static intptr_t event_of(const shm_client_handles_t *handles, unsigned event)
{
    const intptr_t list[] = {handles->s2c_data, handles->c2s_data,    handles->s2c_space, handles->c2s_space,
                             handles->request,  handles->acknowledge, handles->disconnect};
    return list[event];
}

static unsigned signals[7];

static void set_event(void *context, unsigned event)
{
    signals[event]++;
    if (context) {
        intptr_t handle = event_of(context, event);
#ifdef _WIN32
        CHECK(SetEvent((HANDLE)handle));
#else
        send((int)handle, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
#endif
    }
}

static void wait_for(const shm_client_handles_t *handles, unsigned event)
{
    intptr_t handle = event_of(handles, event);
#ifdef _WIN32
    CHECK(WaitForSingleObject((HANDLE)handle, PATIENCE) == WAIT_OBJECT_0);
#else
    struct pollfd descriptor = {(int)handle, POLLIN, 0};
    char byte;
    CHECK(poll(&descriptor, 1, PATIENCE) == 1);
    recv((int)handle, &byte, 1, MSG_DONTWAIT);
#endif
}

/* ------------------------------------------------------------------------------------------------- both ends */

/* A server of the library and a client of xshm_driver.h. */
struct pair {
    ServerHandle *server;
    shm_client_handles_t handles;
    unsigned char *base;
    uint32_t size;
    xshm_driver_t client;
    xshm_driver_u64 ends[LIMIT];
};

/* `longest`: the longest message, or 0 for the usual lengths. */
static void start_with(struct pair *pair, uint32_t ring, uint32_t limit, uint32_t longest, int rejects)
{
    shm_options_t options = shm_options_default();
    options.anonymous_events = 1;
    options.message_limit = limit;
    options.max_message_bytes = longest;
    options.reject_when_full = rejects;
    pair->server = shm_server_start_anonymous(ring, NULL, &options);
    CHECK(pair->server);
    CHECK(shm_server_client_handles(pair->server, &pair->handles) == SHM_SUCCESS);
    pair->base = map(pair->handles.section, &pair->size);
    CHECK(xshm_driver_open(&pair->client, pair->base, pair->size, pair->ends, LIMIT, set_event, &pair->handles) == XSHM_DRIVER_OK);
    CHECK(pair->client.server_pid == own_pid());
}

static void start(struct pair *pair, uint32_t ring, uint32_t limit, uint32_t longest)
{
    start_with(pair, ring, limit, longest, 0);
}

static THREAD accept_one(void *with)
{
    CHECK(shm_server_wait_for_client(with, PATIENCE) == SHM_SUCCESS);
    return THREAD_END;
}

static void connect_driver(struct pair *pair)
{
    thread_t acceptor;
    int code;
    begin(&acceptor, accept_one, pair->server);
    CHECK(xshm_driver_request(&pair->client, own_pid()) == XSHM_DRIVER_OK);
    while ((code = xshm_driver_answer(&pair->client)) == XSHM_DRIVER_WAITING) wait_for(&pair->handles, XSHM_DRIVER_EVENT_ACKNOWLEDGE);
    CHECK(code == XSHM_DRIVER_OK);
    join(acceptor);
}

static void finish(struct pair *pair)
{
    xshm_driver_leave(&pair->client);
    shm_server_stop(pair->server);
    unmap(pair->base, pair->size);
}

static uint64_t random_state;

static uint32_t chance(uint32_t below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 32) % below;
}

/* The largest message of `fill`, less 4 bytes: one in 16 messages has up to this number of bytes. */
static uint32_t largest = 3000;

/* Room for any message of `fill`. */
#define ROOM 262144

/* Writes message `number`: its number, and bytes that are calculated from it. */
static uint32_t fill(unsigned char *message, uint32_t number)
{
    uint32_t hash = number * 2654435761u, size = 4 + (hash >> 8) % (hash % 16 == 0 ? largest : 60), at;
    memcpy(message, &number, 4);
    for (at = 4; at < size; at++) message[at] = (unsigned char)(number * 31 + at);
    return size;
}

/* Checks that a message is whole, and returns its number. */
static uint32_t number_of(const unsigned char *message, uint32_t size)
{
    static unsigned char expected[2][ROOM];
    uint32_t number;
    /* One buffer for each direction, since two threads receive. */
    unsigned char *own;
    memcpy(&number, message, 4);
    own = expected[number >> 31];
    CHECK(size >= 4 && fill(own, number) == size && memcmp(own, message, size) == 0);
    return number & 0x7fffffff;
}

/* ---------------------------------------------------------------------------------------------------- golden */

#define GOLDEN_RING 4096u

/* Clears the words in a copy of a ring where later headers may be. How many of them a sender has zeroed depends on the processor. */
static void clear_later_headers(unsigned char *header)
{
    unsigned char *data = header + 64;
    xshm_driver_u64 read_pos, position, word;
    memcpy(&read_pos, header + 8, 8);
    for (position = read_pos; position < read_pos + GOLDEN_RING;) {
        uint32_t offset = (uint32_t)(position % GOLDEN_RING);
        memcpy(&word, data + offset, 8);
        if (word == 0) break;
        if ((word >> 16 & 15) == XSHM_DRIVER_PAD)
            position += GOLDEN_RING - offset;
        else
            position += (8 + (word & 0xffff) + XSHM_DRIVER_FRAME - 1) / XSHM_DRIVER_FRAME * XSHM_DRIVER_FRAME;
    }
    for (; position < read_pos + GOLDEN_RING; position += XSHM_DRIVER_FRAME) memset(data + position % GOLDEN_RING, 0, 8);
}

static void dump(const struct pair *pair, const char *step)
{
    unsigned char copy[192 + 2 * GOLDEN_RING];
    uint32_t line, at;
    memcpy(copy, pair->base, sizeof copy);
    memset(copy + 20, 0, 4);
    memset(copy + 52, 0, 4);
    clear_later_headers(copy + 64);
    clear_later_headers(copy + 128 + GOLDEN_RING);
    printf("# %s\n", step);
    for (line = 0; line < sizeof copy; line += 16) {
        static const unsigned char zeros[16];
        if (memcmp(copy + line, zeros, 16) == 0) continue;
        printf("%06x ", (unsigned)line);
        for (at = 0; at < 16; at++) printf(at % 8 == 0 ? "  %02x" : " %02x", copy[line + at]);
        printf("\n");
    }
}

static void server_sends(const struct pair *pair, unsigned char byte, uint32_t size)
{
    unsigned char message[4096];
    memset(message, byte, size);
    CHECK(shm_server_try_send(pair->server, message, size) == SHM_SUCCESS);
}

static void driver_sends(struct pair *pair, unsigned char byte, uint32_t size)
{
    unsigned char message[4096];
    memset(message, byte, size);
    CHECK(xshm_driver_try_send(&pair->client, message, size) == XSHM_DRIVER_OK);
}

static void server_takes(const struct pair *pair, unsigned char byte, uint32_t size)
{
    unsigned char message[4096], expected[4096];
    uint32_t taken = sizeof message;
    CHECK(shm_server_try_receive(pair->server, message, &taken) == SHM_SUCCESS);
    memset(expected, byte, size);
    CHECK(taken == size && memcmp(message, expected, size) == 0);
}

static void driver_takes(struct pair *pair, unsigned char byte, uint32_t size)
{
    unsigned char message[4096], expected[4096];
    uint32_t taken;
    CHECK(xshm_driver_receive(&pair->client, message, sizeof message, &taken) == XSHM_DRIVER_OK);
    memset(expected, byte, size);
    CHECK(taken == size && memcmp(message, expected, size) == 0);
}

static void golden(void)
{
    struct pair pair;
    shm_stats_t stats;
    xshm_driver_u32 evicted, length, number;
    unsigned char message[8];
    thread_t acceptor;
    start(&pair, 4096, 16, 0);
    dump(&pair, "the server has started");
    CHECK(xshm_driver_request(&pair.client, own_pid()) == XSHM_DRIVER_OK);
    CHECK(xshm_driver_answer(&pair.client) == XSHM_DRIVER_WAITING);
    dump(&pair, "the driver requested a connection");
    begin(&acceptor, accept_one, pair.server);
    join(acceptor);
    CHECK(xshm_driver_answer(&pair.client) == XSHM_DRIVER_OK);
    CHECK(xshm_driver_is_connected(&pair.client) && shm_server_is_connected(pair.server));
    dump(&pair, "the server accepted");
    CHECK(xshm_driver_receive(&pair.client, message, sizeof message, &length) == XSHM_DRIVER_EMPTY);

    server_sends(&pair, 0x11, 5);
    dump(&pair, "the server sent 5 bytes");
    CHECK(xshm_driver_peek(&pair.client, &length) == XSHM_DRIVER_OK && length == 5);
    CHECK(xshm_driver_receive(&pair.client, message, 4, &length) == XSHM_DRIVER_BUFFER_TOO_SMALL && length == 5);
    driver_takes(&pair, 0x11, 5);
    dump(&pair, "the driver took them");
    driver_sends(&pair, 0x22, 5);
    dump(&pair, "the driver sent 5 bytes");
    server_takes(&pair, 0x22, 5);
    dump(&pair, "the server took them");

    server_sends(&pair, 0x33, 1980);
    server_sends(&pair, 0x44, 1912);
    driver_takes(&pair, 0x33, 1980);
    driver_takes(&pair, 0x44, 1912);
    server_sends(&pair, 0x55, 100);
    dump(&pair, "the server sent 1980, 1912, and 100 behind a pad");
    driver_takes(&pair, 0x55, 100);
    driver_sends(&pair, 0x33, 1980);
    driver_sends(&pair, 0x44, 1912);
    server_takes(&pair, 0x33, 1980);
    server_takes(&pair, 0x44, 1912);
    driver_sends(&pair, 0x55, 100);
    dump(&pair, "the driver sent the same");
    server_takes(&pair, 0x55, 100);
    CHECK(shm_server_stats(pair.server, &stats) == SHM_SUCCESS && stats.generation == 1 && stats.sent == 4 && stats.received == 4);
    dump(&pair, "the server took it, and was asked for its figures");

    signals[XSHM_DRIVER_EVENT_S2C_DATA] = 0;
    CHECK(xshm_driver_sleep_for_data(&pair.client) == XSHM_DRIVER_OK);
    dump(&pair, "the driver sleeps");
    server_sends(&pair, 0x66, 2);
    wait_for(&pair.handles, XSHM_DRIVER_EVENT_S2C_DATA);
    dump(&pair, "the server sent 2 bytes and woke it");
    CHECK(xshm_driver_sleep_for_data(&pair.client) == XSHM_DRIVER_LOOK);
    CHECK(xshm_driver_awake(&pair.client, XSHM_DRIVER_DATA) == XSHM_DRIVER_OK);
    driver_takes(&pair, 0x66, 2);

    for (number = 0; number < 16; number++) driver_sends(&pair, (unsigned char)number, 8);
    CHECK(xshm_driver_try_send(&pair.client, message, 8) == XSHM_DRIVER_FULL);
    CHECK(xshm_driver_sleep_for_space(&pair.client, 8) == XSHM_DRIVER_OK);
    dump(&pair, "the driver sent as many as may wait, and sleeps for room");
    server_takes(&pair, 0, 8);
    wait_for(&pair.handles, XSHM_DRIVER_EVENT_C2S_SPACE);
    CHECK(xshm_driver_sleep_for_space(&pair.client, 8) == XSHM_DRIVER_LOOK);
    driver_sends(&pair, 16, 8);
    memset(message, 17, 8);
    CHECK(xshm_driver_send(&pair.client, message, 8, &evicted) == XSHM_DRIVER_OK && evicted == 1);
    dump(&pair, "the server took one; the driver sent two, and evicted one");
    for (number = 2; number < 18; number++) server_takes(&pair, (unsigned char)number, 8);
    CHECK(shm_server_stats(pair.server, &stats) == SHM_SUCCESS && stats.receive_dropped == 1);
    /* A message that is too long or too short is refused, and changes nothing. */
    CHECK(xshm_driver_try_send(&pair.client, message, 1) == XSHM_DRIVER_BAD_SIZE);
    CHECK(xshm_driver_try_send(&pair.client, message, 4096 / 2 - 7) == XSHM_DRIVER_BAD_SIZE);
    for (number = 0; number < 18; number++) CHECK(shm_server_send(pair.server, "evicting", 8) == SHM_SUCCESS);
    dump(&pair, "the server sent 18, and evicted two");
    for (number = 0; number < 16; number++) CHECK(xshm_driver_receive(&pair.client, message, 8, &length) == XSHM_DRIVER_OK);
    CHECK(pair.client.receiver.lost == 2);

    server_sends(&pair, 0x77, 3);
    CHECK(shm_server_disconnect_client(pair.server) == SHM_SUCCESS);
    dump(&pair, "the server ended the session");
    CHECK(xshm_driver_try_send(&pair.client, message, 8) == XSHM_DRIVER_OVER);
    driver_takes(&pair, 0x77, 3);
    CHECK(xshm_driver_receive(&pair.client, message, 8, &length) == XSHM_DRIVER_OVER);
    CHECK(xshm_driver_sleep_for_data(&pair.client) == XSHM_DRIVER_OVER);
    CHECK(xshm_driver_sleep_for_space(&pair.client, 8) == XSHM_DRIVER_OVER);
    xshm_driver_leave(&pair.client);
    dump(&pair, "the driver left");

    connect_driver(&pair);
    dump(&pair, "a second session");
    CHECK(xshm_driver_always(&pair.client, XSHM_DRIVER_ALWAYS_DATA) == XSHM_DRIVER_OK);
    server_sends(&pair, 0x12, 2);
    server_sends(&pair, 0x13, 2);
    wait_for(&pair.handles, XSHM_DRIVER_EVENT_S2C_DATA);
    dump(&pair, "the driver wants a signal for each message");
    xshm_driver_leave(&pair.client);
    dump(&pair, "the driver left of its own accord");
    CHECK(xshm_driver_request(&pair.client, own_pid()) == XSHM_DRIVER_OK);
    xshm_driver_leave(&pair.client);
    dump(&pair, "the driver requested a connection, and withdrew the request");
    shm_server_stop(pair.server);
    dump(&pair, "the server stopped");
    CHECK(xshm_driver_request(&pair.client, own_pid()) == XSHM_DRIVER_OVER);
    unmap(pair.base, pair.size);
}

/* Prints some of the lines of a section: the control block, the header and the start of the first ring, and what follows `at`. */
static void dump_part(const struct pair *pair, const char *step, uint32_t at)
{
    uint32_t line, each;
    printf("# %s\n", step);
    for (line = 0; line < at + 0x60; line += 16) {
        static const unsigned char zeros[16];
        unsigned char bytes[16];
        if (line >= 0x160 && line < at) continue;
        memcpy(bytes, pair->base + line, 16);
        if (line == 16) memset(bytes + 4, 0, 4);
        if (line == 48) memset(bytes + 4, 0, 4);
        if (memcmp(bytes, zeros, 16) == 0) continue;
        printf("%06x ", (unsigned)line);
        for (each = 0; each < 16; each++) printf(each % 8 == 0 ? "  %02x" : " %02x", bytes[each]);
        printf("\n");
    }
}

static void server_sends_long(const struct pair *pair, unsigned char byte, uint32_t size)
{
    unsigned char *message;
    CHECK(shm_server_try_reserve(pair->server, size, (void **)&message) == SHM_SUCCESS);
    memset(message, byte, size);
    CHECK(shm_server_commit(pair->server) == SHM_SUCCESS);
}

static void driver_takes_long(struct pair *pair, unsigned char byte, uint32_t size)
{
    unsigned char *message = malloc(size), *expected = malloc(size);
    uint32_t taken;
    CHECK(xshm_driver_receive(&pair->client, message, size, &taken) == XSHM_DRIVER_OK);
    memset(expected, byte, size);
    CHECK(taken == size && memcmp(message, expected, size) == 0);
    free(message);
    free(expected);
}

/* A channel whose server has set the length of the longest message. */
static void golden_long(void)
{
    enum { RING = 262144, LONGEST = 131008 };
    struct pair pair;
    unsigned char *message = calloc(1, LONGEST + 1);
    uint32_t taken;
    xshm_driver_u32 length;
    start(&pair, RING, 16, LONGEST);
    CHECK(xshm_driver_longest_message(&pair.client) == LONGEST);
    connect_driver(&pair);
    dump_part(&pair, "a channel with messages of up to 131,008 bytes", 0x100);
    server_sends(&pair, 0x21, 0);
    server_sends(&pair, 0x22, 1);
    dump_part(&pair, "the server sent 0 bytes, then 1", 0x100);
    /* A look takes no message, also if it has no byte. */
    CHECK(xshm_driver_peek(&pair.client, &length) == XSHM_DRIVER_OK && length == 0);
    CHECK(xshm_driver_receive(&pair.client, NULL, 0, &length) == XSHM_DRIVER_BUFFER_TOO_SMALL && length == 0);
    CHECK(xshm_driver_sleep_for_data(&pair.client) == XSHM_DRIVER_LOOK);
    driver_takes(&pair, 0x21, 0);
    CHECK(xshm_driver_peek(&pair.client, &length) == XSHM_DRIVER_OK && length == 1);
    driver_takes(&pair, 0x22, 1);
    server_sends_long(&pair, 0x23, 65536);
    dump_part(&pair, "the server sent 65,536", 0x80 + 0x80 + 65536);
    driver_takes_long(&pair, 0x23, 65536);
    server_sends_long(&pair, 0x24, 65535);
    driver_takes_long(&pair, 0x24, 65535);
    server_sends_long(&pair, 0x25, 131008);
    dump_part(&pair, "the server sent 65,535, which the driver took, and 131,008 behind a pad", 0x80 + 0x80 + 2 * 65600 - 32);
    driver_takes_long(&pair, 0x25, 131008);

    CHECK(xshm_driver_try_send(&pair.client, message, LONGEST + 1) == XSHM_DRIVER_BAD_SIZE);
    for (length = 0; length <= LONGEST; length += LONGEST / 4) {
        CHECK(xshm_driver_try_send(&pair.client, message, length) == XSHM_DRIVER_OK);
        taken = LONGEST;
        CHECK(shm_server_try_receive(pair.server, message, &taken) == SHM_SUCCESS && taken == length);
    }
    free(message);
    finish(&pair);
}

/* -------------------------------------------------------------------------------------------------- exchange */

struct work {
    struct pair *pair;
    uint32_t count;
    int overwrite;
    uint32_t lost;
};

/* The driver's messages have the highest bit of their number set. */
#define DRIVERS 0x80000000u

static THREAD server_sending(void *with)
{
    struct work *work = with;
    unsigned char *message = malloc(ROOM);
    uint32_t number;
    for (number = 0; number < work->count; number++) {
        uint32_t size = fill(message, number);
        CHECK((work->overwrite ? shm_server_send(work->pair->server, message, size)
                               : shm_server_send_timeout(work->pair->server, message, size, PATIENCE)) == SHM_SUCCESS);
    }
    free(message);
    return THREAD_END;
}

static THREAD server_receiving(void *with)
{
    struct work *work = with;
    unsigned char *message = malloc(ROOM);
    uint32_t expected = 0;
    while (expected < work->count) {
        uint32_t size = ROOM, number;
        CHECK(shm_server_receive_timeout(work->pair->server, message, &size, PATIENCE) == SHM_SUCCESS);
        number = number_of(message, size);
        CHECK(number >= expected && (work->overwrite || number == expected));
        work->lost += number - expected;
        expected = number + 1;
    }
    free(message);
    return THREAD_END;
}

static THREAD driver_sending(void *with)
{
    struct work *work = with;
    xshm_driver_t *client = &work->pair->client;
    unsigned char *message = malloc(ROOM);
    uint32_t number;
    for (number = 0; number < work->count; number++) {
        uint32_t size = fill(message, number | DRIVERS), evicted;
        int code = work->overwrite ? xshm_driver_send(client, message, size, &evicted) : xshm_driver_try_send(client, message, size);
        while (code == XSHM_DRIVER_FULL) {
            code = xshm_driver_sleep_for_space(client, size);
            if (code == XSHM_DRIVER_OK) {
                wait_for(&work->pair->handles, XSHM_DRIVER_EVENT_C2S_SPACE);
                CHECK(xshm_driver_awake(client, XSHM_DRIVER_SPACE) == XSHM_DRIVER_OK);
            }
            code = xshm_driver_try_send(client, message, size);
        }
        CHECK(code == XSHM_DRIVER_OK);
    }
    free(message);
    return THREAD_END;
}

static THREAD driver_receiving(void *with)
{
    struct work *work = with;
    xshm_driver_t *client = &work->pair->client;
    unsigned char *message = malloc(ROOM);
    uint32_t expected = 0;
    while (expected < work->count) {
        xshm_driver_u32 size, number;
        int code = xshm_driver_receive(client, message, ROOM, &size);
        if (code == XSHM_DRIVER_EMPTY) {
            code = xshm_driver_sleep_for_data(client);
            CHECK(code == XSHM_DRIVER_OK || code == XSHM_DRIVER_LOOK);
            if (code == XSHM_DRIVER_OK) {
                wait_for(&work->pair->handles, XSHM_DRIVER_EVENT_S2C_DATA);
                CHECK(xshm_driver_awake(client, XSHM_DRIVER_DATA) == XSHM_DRIVER_OK);
            }
            continue;
        }
        if (code == XSHM_DRIVER_BUSY) continue;
        CHECK(code == XSHM_DRIVER_OK);
        number = number_of(message, size);
        CHECK(number >= expected && (work->overwrite || number == expected));
        work->lost += number - expected;
        expected = number + 1;
    }
    free(message);
    return THREAD_END;
}

static void exchange(uint32_t all)
{
    int way;
    for (way = 0; way < 6; way++) {
        int rejects = way >= 4, overwrite = !rejects && way % 2 == 1, has_long = (rejects ? way % 2 : way / 2) == 1;
        /* As many bytes, about. */
        uint32_t count = has_long ? all / 30 + 1 : all;
        struct pair pair;
        struct work outward = {&pair, count, overwrite, 0}, inward = {&pair, count, overwrite, 0};
        shm_stats_t stats;
        thread_t threads[4];
        unsigned each;
        largest = has_long ? 200000 : 3000;
        start_with(&pair, has_long ? 524288 : 16384, LIMIT, has_long ? largest + 4 : 0, rejects);
        connect_driver(&pair);
        begin(&threads[0], driver_receiving, &outward);
        begin(&threads[1], server_receiving, &inward);
        begin(&threads[2], server_sending, &outward);
        begin(&threads[3], driver_sending, &inward);
        for (each = 0; each < 4; each++) join(threads[each]);
        CHECK(shm_server_stats(pair.server, &stats) == SHM_SUCCESS);
        CHECK(stats.sent == count && stats.received + stats.receive_dropped == count);
        CHECK(stats.receive_dropped == inward.lost && pair.client.sender.evicted == inward.lost);
        CHECK(pair.client.sender.sent == count && pair.client.receiver.received + pair.client.receiver.lost == count);
        CHECK(pair.client.receiver.lost == outward.lost && stats.send_dropped == outward.lost);
        printf("%s, up to %u bytes: %u messages each way; %u to the driver and %u from it were evicted\n",
               overwrite ? "overwriting" : rejects ? "rejecting" : "without loss", largest + 4, count, outward.lost, inward.lost);
        finish(&pair);
    }
}

/* --------------------------------------------------------------------------------------------------- mutated */

static int same_code(shm_error_t library, int driver)
{
    switch (library) {
    case SHM_SUCCESS: return driver == XSHM_DRIVER_OK;
    case SHM_ERROR_EMPTY: return driver == XSHM_DRIVER_EMPTY;
    case SHM_ERROR_FULL: return driver == XSHM_DRIVER_FULL;
    case SHM_ERROR_NOT_CONNECTED: return driver == XSHM_DRIVER_OVER;
    case SHM_ERROR_PROTOCOL: return driver == XSHM_DRIVER_CORRUPTED;
    case SHM_ERROR_NOT_READY: return driver == XSHM_DRIVER_BUSY;
    default: return 0;
    }
}

static uint64_t word_at(const unsigned char *base, uint32_t at)
{
    uint64_t word;
    memcpy(&word, base + at, 8);
    return word;
}

static uint64_t mutation(uint64_t word)
{
    switch (chance(7)) {
    case 0: return word ^ (uint64_t)1 << chance(64);
    case 1: return word + chance(129) - 64;
    case 2: return word + 64 * (uint64_t)chance(64);
    case 3: return 0;
    case 4: return word ^ ((uint64_t)chance(16) << 16 | chance(65536));
    case 5: return word + ((uint64_t)1 << (20 + chance(30)));
    default: return (uint64_t)chance(0xffffffff) << 32 | chance(0xffffffff);
    }
}

static void mutate(unsigned char *live, unsigned char *copy, uint32_t at)
{
    uint64_t word = mutation(word_at(live, at));
    memcpy(live + at, &word, 8);
    memcpy(copy + at, &word, 8);
}


/* The size of a message on a channel whose longest message has `longest` bytes, or which has the usual lengths. */
static uint32_t some_size(uint32_t longest)
{
    return longest == 0 || chance(2) ? 2 + chance(298) : longest - chance(500);
}

static void mutated(uint32_t count, uint32_t ring, uint32_t longest)
{
    const uint32_t RING = ring, SIZE = 192 + 2 * RING, RING_A = 128, HEADER_B = 128 + RING;
    const uint32_t room = longest ? longest : 4096;
    struct pair pair;
    uint32_t round, outcomes[6] = {0};
    unsigned char *message = malloc(room), *theirs = malloc(room), *ours = malloc(room);
    /* The copy has exactly the size of the section, so that a sanitizer finds every access beyond it. */
    unsigned char *copy = malloc(SIZE);
    random_state = 88172645463325252ull;
    start(&pair, RING, 16, longest);
    for (round = 0; round < count; round++) {
        xshm_driver_t driver;
        xshm_driver_u64 ends[16], ready;
        ClientHandle *client;
        thread_t acceptor;
        uint32_t each, changes, frames[40] = {0};
        uint64_t generation;
        begin(&acceptor, accept_one, pair.server);
        client = shm_client_attach_handles(&pair.handles, NULL, NULL, PATIENCE);
        CHECK(client);
        join(acceptor);
        generation = word_at(pair.base, 8) & 0xffffffff;
        ready = word_at(pair.base, 16);
        CHECK(xshm_driver_open(&driver, pair.base, SIZE, ends, 16, set_event, NULL) == XSHM_DRIVER_OK);

        /* The ring of the server contains some messages. */
        frames[0] = 0;
        for (each = 0; each < chance(17); each++) {
            uint32_t size = some_size(longest);
            memset(message, (int)each, size);
            CHECK(shm_server_send(pair.server, message, size) == SHM_SUCCESS);
            frames[each + 1] = frames[each] + (uint32_t)xshm_driver_frame_size(size);
        }
        memcpy(copy, pair.base, SIZE);
        CHECK(xshm_driver_open(&driver, copy, SIZE, ends, 16, set_event, NULL) == XSHM_DRIVER_OK);
        xshm_driver_begin(&driver, ready, (xshm_driver_u32)generation);

        changes = chance(4);
        for (each = 0; each < changes; each++) {
            switch (chance(longest ? 7 : 5)) {
            case 0: mutate(pair.base, copy, 64 + 8); break;
            case 5: mutate(pair.base, copy, RING_A + frames[chance(4)] % RING); break;
            case 6: mutate(pair.base, copy, RING_A + frames[chance(4)] % RING + 8); break;
            case 1: mutate(pair.base, copy, RING_A + 8 * chance(RING / 8)); break;
            case 2: mutate(pair.base, copy, chance(8) ? RING_A : 16 + 8 * chance(3)); break;
            default: mutate(pair.base, copy, RING_A + 64 * chance(16)); break;
            }
        }
        for (each = 0; each < 40; each++) {
            uint32_t size = room;
            xshm_driver_u32 length = 0;
            shm_error_t library = shm_client_try_receive(client, theirs, &size);
            int code = xshm_driver_receive(&driver, ours, room, &length);
            if (!same_code(library, code) || (code == XSHM_DRIVER_OK && (size != length || memcmp(theirs, ours, size) != 0))) {
                fprintf(stderr, "round %u, message %u: the library says %s, the header %d; %u and %u bytes\n", (unsigned)round,
                        (unsigned)each, shm_error_string(library), code, (unsigned)size, (unsigned)length);
                exit(1);
            }
            if (code != XSHM_DRIVER_OK) {
                outcomes[code == XSHM_DRIVER_EMPTY ? 0 : code == XSHM_DRIVER_CORRUPTED ? 1 : 2]++;
                break;
            }
        }
        /* The other ring: the server receives some messages, and its read_pos may be wrong. */
        for (each = 0; each < 30; each++) {
            uint32_t size = some_size(longest), taken = room;
            shm_error_t library;
            int code;
            memset(message, (int)each, size);
            if (chance(20) == 0) mutate(pair.base, copy, HEADER_B + 8);
            library = shm_client_try_send(client, message, size);
            code = xshm_driver_try_send(&driver, message, size);
            if (!same_code(library, code)) {
                fprintf(stderr, "round %u, sending %u: the library says %s, the header %d\n", (unsigned)round, (unsigned)each,
                        shm_error_string(library), code);
                exit(1);
            }
            if (code == XSHM_DRIVER_CORRUPTED || code == XSHM_DRIVER_OVER) {
                outcomes[code == XSHM_DRIVER_CORRUPTED ? 3 : 4]++;
                break;
            }
            if (code == XSHM_DRIVER_OK) {
                /* Both wrote the same frame at the same offset. */
                uint32_t at = 192 + RING + (uint32_t)((driver.sender.write_pos - xshm_driver_frame_size(size)) & (RING - 1));
                CHECK(memcmp(pair.base + at, copy + at, size > 65535 ? 16 : 8 + size) == 0);
                CHECK(size <= 65535 || memcmp(pair.base + at + 64, copy + at + 64, size) == 0);
            }
            if (chance(3) == 0) {
                /* The server may also find that the rules are broken, and end the session. */
                shm_server_try_receive(pair.server, message, &taken);
                memcpy(copy, pair.base, 64);
                memcpy(copy + HEADER_B + 8, pair.base + HEADER_B + 8, 8);
            }
        }
        outcomes[5] += each == 30;
        memcpy(pair.base + 16, &ready, 8);
        shm_client_disconnect(client);
    }
    printf("%u mutated sections judged alike; receiving ended empty %u times, broken %u, over %u; sending broken %u, over %u, at its "
           "end %u\n", count, outcomes[0], outcomes[1], outcomes[2], outcomes[3], outcomes[4], outcomes[5]);
    CHECK(count < 1000 || (outcomes[0] > 0 && outcomes[1] > 0 && outcomes[2] > 0 && outcomes[3] > 0 && outcomes[5] > 0));
    shm_server_stop(pair.server);
    unmap(pair.base, pair.size);
    free(copy);
    free(message);
    free(theirs);
    free(ours);
}

static void control(uint32_t count)
{
    enum { RING = 4096, SIZE = 192 + 2 * RING };
    unsigned char *original = malloc(SIZE), *copy = malloc(SIZE);
    uint32_t round, size, refused = 0;
    shm_options_t options = shm_options_default();
    ServerHandle *servers[2] = {shm_server_start_anonymous(RING, NULL, NULL), NULL};
    options.max_message_bytes = 2000;
    options.message_limit = 16;
    servers[1] = shm_server_start_anonymous(RING, NULL, &options);
    random_state = 0x9e3779b97f4a7c15ull;
    for (round = 0; round < count; round++) {
        /* The last one is the length of the longest message. */
        static const uint32_t fields[] = {0, 40, 48, 8, 0, 40, 120, 120};
        intptr_t section = shm_server_section_handle(servers[round % 2]);
        unsigned char *base = map(section, &size);
        xshm_driver_t driver;
        xshm_driver_u64 ends[16];
        uint32_t each, changes = chance(3);
        intptr_t mutant;
        ClientHandle *client;
        int code;
        memcpy(original, base, SIZE);
        unmap(base, size);
        memcpy(copy, original, SIZE);
        for (each = 0; each < changes; each++) mutate(copy, copy, fields[chance(8)]);
        mutant = section_of(copy, SIZE);
        client = shm_client_attach(mutant, NULL, NULL, 0);
        CHECK(!client);
        /* Where the system reports sizes in pages, `size` is larger than SIZE. */
        base = map(mutant, &size);
        code = xshm_driver_open(&driver, copy, SIZE, ends, 16, set_event, NULL);
        unmap(base, size);
        close_section(mutant);
        /* Both refuse bit 2 (a channel of a multi-client server), with different codes. */
        if ((word_at(copy, 48) & 4) != 0) {
            CHECK(code == XSHM_DRIVER_INCOMPATIBLE);
        } else if ((code == XSHM_DRIVER_INCOMPATIBLE) != (shm_last_error() == SHM_ERROR_INCOMPATIBLE)) {
            fprintf(stderr, "round %u: the library says %s, the header %s\n", (unsigned)round, shm_error_string(shm_last_error()),
                    driver.reason);
            exit(1);
        }
        refused += code == XSHM_DRIVER_INCOMPATIBLE;
    }
    printf("%u control blocks judged alike, %u of them no channel's\n", count, refused);
    CHECK(count < 1000 || (refused > 0 && refused < count));
    shm_server_stop(servers[0]);
    shm_server_stop(servers[1]);
    free(original);
    free(copy);
}

int main(int argc, char **argv)
{
    uint32_t count = argc == 3 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0;
    setvbuf(stdout, NULL, _IOFBF, 1 << 16);
    if (argc == 2 && strcmp(argv[1], "golden") == 0) {
        golden();
        golden_long();
    }
    else if (count > 0 && strcmp(argv[1], "exchange") == 0) exchange(count);
    else if (count > 0 && strcmp(argv[1], "mutated") == 0) {
        mutated(count, 4096, 0);
        mutated(count / 10 + 1, 262144, 66000);
    }
    else if (count > 0 && strcmp(argv[1], "control") == 0) control(count);
    else {
        fprintf(stderr, "usage: driver golden | exchange COUNT | mutated COUNT | control COUNT\n");
        return 2;
    }
    return 0;
}
