// xshm.hpp in programs of different styles: messages from and into spans, arrays, containers and structs, buffers after a failure,
// iterators, constructors that report by std::error_code, callbacks that use their object, calls, event loops, and logs. Also compiled
// without exceptions and RTTI, and as C++20.
#include "xshm.hpp"

#include "check.hpp"
#include "platform.h" // for threads: some MinGW compilers lack std::thread

#ifndef _WIN32
#include <poll.h>
#endif

#include <algorithm>
#include <array>
#include <cstdio>
#include <numeric>
#if __cplusplus >= 202002L
#include <ranges>
#include <span>
#endif

using namespace std::chrono_literals;

namespace {

constexpr auto patience = 20s;

std::string name_of(const char *what)
{
    const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
    return std::string("modern-") + what + "-" + std::to_string(now);
}

THREAD accept(void *with)
{
    CHECK(!static_cast<xshm::server *>(with)->wait_for_client(patience));
    return THREAD_END;
}

struct pair {
    xshm::server server;
    xshm::client client;

    static pair of(const std::string &name, const xshm::options &options = {})
    {
        std::error_code error;
        xshm::server server(name, error, {}, options);
        CHECK(!error && server);
        thread_t accepting;
        begin(&accepting, accept, &server);
        xshm::client client(name, patience, error);
        join(accepting);
        CHECK(!error && client);
        return {std::move(server), std::move(client)};
    }
};

struct point {
    std::int32_t x, y;
};

template <class Message>
std::string sent(pair &both, const Message &message)
{
    CHECK(!both.server.send(message));
    std::string came;
    CHECK(!both.client.receive(came, patience));
    return came;
}

void messages()
{
    pair both = pair::of(name_of("messages"));
    // A literal ends before its NUL, and not before another one. Another array of char is sent whole.
    CHECK(sent(both, "ping") == "ping");
    CHECK(sent(both, "ab\0cd") == std::string("ab\0cd", 5));
    const char packet[4] = {1, 0, 2, 3};
    CHECK(sent(both, packet) == std::string("\1\0\2\3", 4));
    char buffer[8] = "hello";
    CHECK(!both.server.send(buffer));
    std::size_t size = 0;
    std::array<unsigned char, 16> bytes{};
    CHECK(!both.client.receive_into(bytes, size, patience) && size == 8);
    CHECK(sent(both, std::string_view(buffer)) == "hello");
    const char *pointer = buffer;
    CHECK(sent(both, pointer) == "hello");
    // Elements of any trivially copyable type.
    CHECK(sent(both, std::array<std::uint16_t, 3>{1, 2, 3}).size() == 6);
    CHECK(sent(both, std::vector<double>{1.5, 2.5}).size() == 16);
    const int numbers[3] = {1, 2, 3};
    CHECK(!both.server.send(numbers));
    int back[3] = {};
    CHECK(!both.client.receive_into(back, size, patience) && size == sizeof back && back[2] == 3);
    const point here{3, -4};
    CHECK(!both.server.send(xshm::bytes_of(here)));
    point there{};
    CHECK(!both.client.receive_object(there, patience) && there.x == 3 && there.y == -4);
    CHECK(!both.server.send("abc"));
    CHECK(both.client.try_receive_object(there) == SHM_ERROR_MESSAGE_TOO_SMALL && there.x == 3);
    CHECK(!both.server.send("longer than a point"));
    CHECK(both.client.receive_object(there) == SHM_ERROR_BUFFER_TOO_SMALL && there.x == 3);
    CHECK(both.client.try_receive_into(back, size) == SHM_ERROR_BUFFER_TOO_SMALL && size == 19);
    std::string text;
    CHECK(!both.client.try_receive(text) && text == "longer than a point");
    CHECK(both.client.try_receive_into(bytes, size) == SHM_ERROR_EMPTY);
#if __cplusplus >= 202002L
    CHECK(sent(both, std::span<const int>(numbers)).size() == sizeof numbers);
    CHECK(!both.server.send("span"));
    CHECK(!both.client.receive_into(std::span<unsigned char>(bytes), size, patience) && size == 4);
#endif
}

void failures_leave_buffers()
{
    pair both = pair::of(name_of("failures"));
    std::string text = "old";
    CHECK(both.client.try_receive(text) == SHM_ERROR_EMPTY && text == "old");
    CHECK(both.client.receive(text, 1ms) == std::errc::timed_out && text == "old");
    std::vector<unsigned char> bytes(1000, 7);
    CHECK(both.client.receive(bytes, 0ms) == SHM_ERROR_EMPTY && bytes == std::vector<unsigned char>(1000, 7));
    CHECK(!both.server.send(std::vector<unsigned char>(5000, 9)));
    CHECK(!both.client.receive(text, patience) && text == std::string(5000, '\x09'));
    both.server.stop();
    CHECK(both.client.receive(text, patience) == SHM_ERROR_NOT_CONNECTED && text.size() == 5000);
}

void batches()
{
    pair both = pair::of(name_of("batches"));
    const std::vector<std::string> texts = {"one", "two", "three"};
    std::size_t count = 0;
    CHECK(!both.server.send_batch(texts, patience, &count) && count == 3);
    xshm::batch batch;
    CHECK(!both.client.receive_batch(batch, patience));
    CHECK(batch.end() - batch.begin() == 3 && batch.front().text() == "one" && batch.back().text() == "three");
    const auto has_w = [](xshm::view message) { return message.text().find('w') != std::string_view::npos; };
    CHECK(std::find_if(batch.begin(), batch.end(), has_w) - batch.begin() == 1);
    CHECK(std::count_if(batch.begin(), batch.end(), has_w) == 1);
    CHECK(batch.begin()[2].text() == "three" && batch.begin()->size() == 3 && std::prev(batch.end())->text() == "three");
    std::vector<xshm::view> copies(batch.begin(), batch.end());
    CHECK(copies.size() == 3 && std::distance(batch.begin(), batch.end()) == 3);
#if __cplusplus >= 202002L
    static_assert(std::random_access_iterator<xshm::batch::iterator>);
    static_assert(std::ranges::random_access_range<const xshm::batch>);
    CHECK(std::ranges::count_if(batch, has_w) == 1);
#endif
}

void errors()
{
    const std::string name = name_of("errors");
    std::error_code error;
    xshm::server server(name, error);
    CHECK(!error);
    xshm::server second(name, error);
    CHECK(error == SHM_ERROR_EXISTS && !second && second.send("xx") == SHM_ERROR_INVALID_PARAM);
    xshm::client none(name_of("nothing"), 0ms, error);
    CHECK(error == SHM_ERROR_TIMEOUT && !none);
    xshm::multi_client no_many(name_of("nothing"), error, {}, [] {
        auto options = shm_multi_client_options_default();
        options.lobby_timeout_ms = 1;
        return options;
    }());
    CHECK(error == SHM_ERROR_TIMEOUT);
    xshm::auto_server fine(name_of("auto"), error);
    CHECK(!error && fine);
#if XSHM_HPP_HAS_EXCEPTIONS
    try {
        xshm::server third(name);
        CHECK(false);
    } catch (const xshm::error &thrown) {
        // The text is there once.
        const std::string what = thrown.what();
        CHECK(thrown.code() == SHM_ERROR_EXISTS && what.find("is taken by") != std::string::npos);
        CHECK(what.find("a running server, or something else") == std::string::npos);
    }
#endif
}

struct connecting {
    std::string name;
    const xshm::interrupter *by;
    std::error_code error;
};

THREAD connect_until_interrupted(void *with)
{
    auto *what = static_cast<connecting *>(with);
    xshm::options options;
    options.interrupter = what->by;
    xshm::client client(what->name, xshm::no_limit, what->error, {}, options);
    return THREAD_END;
}

void interrupts()
{
    xshm::interrupter by;
    connecting what{name_of("interrupts"), &by, {}};
    thread_t thread;
    begin(&thread, connect_until_interrupted, &what);
    by.interrupt();
    join(thread);
    CHECK(what.error == SHM_ERROR_INTERRUPTED);
}

/// Counts, and waits for a count.
class counter {
public:
    void add() { ++count_; }
    void wait_for(int count) const
    {
        const auto end = std::chrono::steady_clock::now() + patience;
        while (count_ < count && std::chrono::steady_clock::now() < end) pause_ms(1);
        CHECK(count_ == count);
    }

private:
    std::atomic<int> count_{0};
};

void callbacks_use_their_object()
{
    const std::string name = name_of("callbacks");
    counter answers, logged;
    xshm::callbacks calls;
    std::atomic<xshm::auto_server *> place{nullptr};
    calls.on_message = [&](xshm::direction, xshm::view message) { CHECK(!place.load()->send(message)); };
    calls.on_call = [&](xshm::call from, xshm::view message) {
        if (message.text() == "refuse") {
            CHECK(!place.load()->refuse(from));
        } else {
            CHECK(!place.load()->answer(from, message));
        }
    };
    xshm::options options;
    options.on_event = [&](const xshm::event &happened) {
        if (happened.kind == SHM_EVENT_CONNECTED) logged.add();
    };
    xshm::auto_server server(name, calls, shm_auto_options_default(), options);
    place = &server;
    {
        xshm::callbacks client_calls;
        client_calls.on_message = [&](xshm::direction, xshm::view message) {
            CHECK(message.text() == "echo");
            answers.add();
        };
        xshm::auto_client client(name, client_calls);
        CHECK(!client.send("echo"));
        answers.wait_for(1);
        xshm::peer_identity identity;
        CHECK(client.is_connected() && !client.peer(identity) && identity.process_id != 0);
    }
    logged.wait_for(1);
    xshm::caller caller(name, patience);
    std::string answer = "old";
    CHECK(!caller.call("question", answer, patience) && answer == "question");
    CHECK(caller.call("refuse", answer, patience) == SHM_ERROR_NO_ANSWER && answer == "question");
    shm_caller_stats_t counts{};
    CHECK(!caller.stats(counts) && counts.calls == 2 && counts.answers == 2);
    logged.wait_for(2);
}

void many_clients()
{
    const std::string name = name_of("many");
    counter came, lost;
    xshm::multi_callbacks calls;
    calls.on_overflow = [&](std::uint32_t, xshm::direction way, std::uint32_t) {
        CHECK(way == xshm::direction::server_to_client);
        lost.add();
    };
    xshm::options options;
    options.message_limit = 4;
    xshm::multi_server server(name, calls, shm_multi_options_default(), options);
    xshm::multi_client_callbacks client_calls;
    client_calls.on_message = [&](xshm::view) { came.add(); };
    xshm::multi_client client(name, client_calls);
    // It takes no messages.
    xshm::client idle(name, patience);
    CHECK(idle.slot_id() == 1 && client.slot_id() == 0);
    for (int at = 0; at < 100; at++) CHECK(!server.send_to(0, xshm::bytes_of(at), patience));
    came.wait_for(100);
    std::vector<shm_broadcast_result_t> results;
    for (int at = 1; at <= 5; at++) {
        CHECK(!server.broadcast_each("to all", results));
        came.wait_for(100 + at);
    }
    CHECK(results.size() == 2 && results[1].client_id == 1 && results[1].evicted == 1 && results[0].result == SHM_SUCCESS);
    lost.wait_for(1);
    CHECK(server.send_to(1, "no room", 0ms) == SHM_ERROR_FULL && server.send_to(1, "no room", 1ms) == SHM_ERROR_TIMEOUT);
    shm_client_stats_t stats{};
    CHECK(!server.stats(server.session(1), stats) && stats.sent == 5 && stats.send_dropped == 1 && stats.send_depth == 4);
    xshm::peer_identity identity;
    CHECK(!server.peer(server.session(1), identity) && identity.process_id != 0);
    CHECK(client.stats().received_messages == 105);
}

void event_loops()
{
    pair both = pair::of(name_of("events"));
    xshm::wait_handles handles;
    CHECK(!both.client.wait_handles(handles) && handles.data() != -1 && handles.peer() != -1);
    bool is_ready = true;
    CHECK(!both.client.arm(is_ready) && !is_ready);
    CHECK(!both.client.disarm());
    CHECK(!both.server.send("there"));
    CHECK(!both.client.arm(is_ready) && is_ready);
    xshm::wait_handles moved = std::move(handles);
    CHECK(handles.data() == -1 && moved.data() != -1);
}

/// Waits as an event loop does. Fails if nothing comes although there is no time for the next look.
void wait_for(const std::vector<const xshm::wait_handles *> &all)
{
    const auto now = std::chrono::steady_clock::now();
    auto until = xshm::wait_handles::never;
    std::vector<std::intptr_t> objects;
    for (const auto *each : all) {
        for (const auto object : {each->data(), each->peer()}) {
            if (object != -1) objects.push_back(object);
        }
        until = (std::min)(until, each->next_look());
    }
    const bool is_limited = until != xshm::wait_handles::never;
    const auto left = is_limited ? until - now : std::chrono::steady_clock::duration(patience);
    const auto ms = static_cast<int>((std::max)(std::chrono::ceil<std::chrono::milliseconds>(left), 0ms).count());
#ifdef _WIN32
    std::vector<HANDLE> handles;
    for (const auto object : objects) handles.push_back(reinterpret_cast<HANDLE>(object));
    const auto count = static_cast<DWORD>(handles.size());
    const bool is_ready = WaitForMultipleObjects(count, handles.data(), FALSE, static_cast<DWORD>(ms)) < WAIT_OBJECT_0 + count;
#else
    std::vector<pollfd> polled;
    for (const auto object : objects) polled.push_back({static_cast<int>(object), POLLIN, 0});
    const bool is_ready = poll(polled.data(), static_cast<nfds_t>(polled.size()), ms) > 0;
#endif
    CHECK(is_ready || is_limited);
}

/// Accepts and connects in one loop.
void connect_and_accept(xshm::server &server, xshm::pending_connect &connecting, xshm::client &client)
{
    xshm::wait_handles accepting, answer;
    for (bool is_accepted = false;;) {
        if (!is_accepted) CHECK(!server.try_accept(is_accepted));
        if (!client) CHECK(!connecting.try_finish(client));
        if (is_accepted && client) return;
        std::vector<const xshm::wait_handles *> all;
        if (!is_accepted) {
            CHECK(!server.accept_handles(accepting) && accepting.data() != -1);
            all.push_back(&accepting);
        }
        if (!client) {
            CHECK(!connecting.wait_handles(answer) && answer.data() != -1);
            all.push_back(&answer);
        }
        wait_for(all);
    }
}

void event_loops_connect()
{
    const std::string name = name_of("connect");
    xshm::server server(name);
    xshm::client client;
    CHECK(!client && client.send("xx") == SHM_ERROR_INVALID_PARAM);
    int begun = 0, logged = 0;
    for (int round = 0; round < 50; round++) {
        xshm::callbacks calls;
        // A callback uses the object that it belongs to.
        calls.on_connect = [&] {
            begun++;
            CHECK(client && !client.send("hello"));
        };
        xshm::options options;
        options.on_event = [&](const xshm::event &happened) {
            if (happened.kind == SHM_EVENT_CONNECTED) logged++;
        };
        std::error_code error;
        xshm::pending_connect connecting(name, error, calls, options);
        CHECK(!error && connecting);
        xshm::pending_connect moved = std::move(connecting);
        CHECK(!connecting && connecting.try_finish(client) == SHM_ERROR_INVALID_PARAM);
        connect_and_accept(server, moved, client);
        CHECK(begun == round + 1 && logged == round + 1);
        bool is_accepted = true;
        CHECK(server.try_accept(is_accepted) == SHM_ERROR_ALREADY_CONNECTED && !is_accepted);
        std::string text;
        CHECK(!server.try_receive(text) && text == "hello");
        xshm::wait_handles handles;
        CHECK(!server.accept_handles(handles) && handles.next_look() == xshm::wait_handles::never);
        // The call stops the client, and the connect has ended.
        CHECK(moved.try_finish(client) == SHM_ERROR_NOT_READY && !client && moved.give_up() == SHM_ERROR_NOT_READY);
        CHECK(moved.wait_handles(handles) == SHM_ERROR_NOT_READY && handles.data() == -1);
        CHECK(!server.accept_handles(handles));
        wait_for({&handles});
    }
    // No server announces its start.
    xshm::pending_connect early(name_of("nothing"));
    CHECK(!early.try_finish(client) && !client);
    xshm::wait_handles handles;
    CHECK(!early.wait_handles(handles) && handles.next_look() <= std::chrono::steady_clock::now() + 1s);
    wait_for({&handles});
    xshm::wait_handles moved = std::move(handles);
    CHECK(handles.next_look() == xshm::wait_handles::never && moved.next_look() != xshm::wait_handles::never);
    CHECK(early.give_up() == SHM_ERROR_TIMEOUT);
    std::error_code error;
    xshm::pending_connect none("a\\b", error);
    CHECK(error == SHM_ERROR_INVALID_NAME && !none && none.try_finish(client) == SHM_ERROR_INVALID_PARAM);
#if XSHM_HPP_HAS_EXCEPTIONS
    try {
        xshm::pending_connect invalid("a\\b");
        CHECK(false);
    } catch (const xshm::error &thrown) {
        CHECK(thrown.code() == SHM_ERROR_INVALID_NAME);
    }
#endif
}

struct taking {
    xshm::client *client;
    int count;
};

THREAD take_all(void *with)
{
    const auto *what = static_cast<taking *>(with);
    for (int at = 0, number = -1; at < what->count; at++) {
        if (at % 50 == 0) pause_ms(1); // the sender is asleep meanwhile
        CHECK(!what->client->receive_object(number, patience) && number == at);
    }
    return THREAD_END;
}

void event_loops_room()
{
    xshm::options options;
    options.message_limit = 3;
    pair both = pair::of(name_of("room"), options);
    xshm::wait_handles handles;
    CHECK(!both.server.room_handles(handles) && handles.data() != -1 && handles.peer() != -1);
    bool is_ready = false;
    CHECK(!both.server.arm_room(4, is_ready) && is_ready);
    CHECK(both.server.arm_room(70'000, is_ready) == SHM_ERROR_MESSAGE_TOO_LARGE && !is_ready);
    taking what{&both.client, 2000};
    thread_t thread;
    begin(&thread, take_all, &what);
    int waits = 0;
    for (int at = 0; at < what.count;) {
        const std::error_code error = both.server.try_send(xshm::bytes_of(at));
        if (!error) {
            at++;
            continue;
        }
        CHECK(error == SHM_ERROR_FULL && !both.server.arm_room(sizeof at, is_ready));
        if (is_ready) continue;
        waits++;
        wait_for({&handles});
        CHECK(!both.server.disarm_room());
    }
    join(thread);
    CHECK(waits > 0);
}

void in_place()
{
    xshm::options options;
    options.message_limit = 1;
    options.reject_when_full = true;
    pair both = pair::of(name_of("place"), options);
    const auto write = [](std::byte *place) { std::fill_n(place, 100, std::byte{'x'}); };
    CHECK(!both.server.try_send_with(100, write));
    CHECK(both.server.try_send_with(100, write) == SHM_ERROR_FULL);
    CHECK(both.server.send_with(100, write, 1ms) == SHM_ERROR_TIMEOUT);
    CHECK(!both.client.receive_with([](xshm::view message) { CHECK(message.text() == std::string(100, 'x')); }, patience));
    CHECK(!both.server.send_with(100, write, patience));
}

} // namespace

int main()
{
    messages();
    failures_leave_buffers();
    batches();
    errors();
    interrupts();
    callbacks_use_their_object();
    many_clients();
    event_loops();
    event_loops_connect();
    event_loops_room();
    in_place();
    std::puts("C++ programs of all styles work");
}
