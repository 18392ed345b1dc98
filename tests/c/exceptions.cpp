// Exceptions in C++: what callbacks throw, and how constructors fail; also compiled with -fno-exceptions.
#include "xshm.hpp"

#include "check.hpp"
#include "platform.h" // for threads: some MinGW compilers lack std::thread

#include <atomic>
#include <cstdio>
#include <stdexcept>
#include <utility>

using namespace std::chrono_literals;

namespace {

std::string name_of(const char *what)
{
    const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
    return std::string("exceptions-") + what + "-" + std::to_string(now);
}

#if XSHM_HPP_HAS_EXCEPTIONS

constexpr auto patience = 20s;

/// What on_error was called with. Other threads wait for a number of calls.
class reports {
public:
    void add(std::error_code error)
    {
        const bool is_throw = error == SHM_ERROR_INTERNAL && xshm::last_error_message() == "on purpose";
        (is_throw ? thrown_ : others_)++;
    }

    /// Waits until that many exceptions were reported.
    void wait_for(int count) const
    {
        const auto end = std::chrono::steady_clock::now() + patience;
        while (thrown_ < count && std::chrono::steady_clock::now() < end) pause_ms(1);
        CHECK(thrown_ == count);
        CHECK(others_ == 0);
    }

private:
    std::atomic<int> thrown_{0};
    std::atomic<int> others_{0};
};

[[noreturn]] void boom() { throw std::runtime_error("on purpose"); }

struct pair {
    xshm::server server;
    xshm::client client;
};

THREAD accept(void *with)
{
    CHECK(!static_cast<xshm::server *>(with)->wait_for_client(patience));
    return THREAD_END;
}

pair connected(const char *what, xshm::callbacks server_calls, xshm::callbacks client_calls)
{
    const std::string name = name_of(what);
    xshm::server server(name, std::move(server_calls));
    thread_t accepting;
    begin(&accepting, accept, &server);
    xshm::client client(name, patience, std::move(client_calls));
    join(accepting);
    return {std::move(server), std::move(client)};
}

/// The callbacks of a synchronous endpoint run inside calls, on the thread that calls.
void synchronous()
{
    reports server_reports, client_reports;
    xshm::callbacks server_calls;
    server_calls.on_connect = server_calls.on_disconnect = boom;
    server_calls.on_error = [&](std::error_code error) { server_reports.add(error); };
    xshm::callbacks client_calls;
    client_calls.on_connect = client_calls.on_disconnect = boom;
    client_calls.on_error = [&](std::error_code error) { client_reports.add(error); };
    auto both = connected("sync", server_calls, client_calls);
    server_reports.wait_for(1);
    client_reports.wait_for(1);
    CHECK(!both.server.send("still here"));
    std::string text;
    CHECK(!both.client.receive(text, patience) && text == "still here");
    CHECK(!both.server.disconnect_client());
    CHECK(both.client.receive(text, patience) == SHM_ERROR_NOT_CONNECTED);
    client_reports.wait_for(2);
    CHECK(both.server.send("too late") == SHM_ERROR_NOT_CONNECTED);
    server_reports.wait_for(2);
}

/// A callback throws what is no std::exception, on_error throws, or there is no on_error: nothing happens.
void dropped()
{
    std::atomic<int> errors{0};
    xshm::callbacks throws_everywhere;
    throws_everywhere.on_connect = [] { throw 7; };
    throws_everywhere.on_error = [&](std::error_code error) {
        errors++;
        CHECK(error == SHM_ERROR_INTERNAL);
        CHECK(xshm::last_error_message().find("std::exception") != std::string::npos);
        boom();
    };
    xshm::callbacks no_on_error;
    no_on_error.on_connect = boom;
    auto both = connected("dropped", throws_everywhere, no_on_error);
    CHECK(errors == 1);
    CHECK(!both.client.send("still here"));
    std::string text;
    CHECK(!both.server.receive(text, patience) && text == "still here");
}

/// Inside on_error, a constructor that fails reports its own error, and not the callback's exception.
void inside_on_error()
{
    std::string what, after;
    xshm::callbacks calls;
    calls.on_connect = boom;
    calls.on_error = [&](std::error_code) {
        try {
            xshm::server invalid("");
        } catch (const xshm::error &error) {
            what = error.what();
        }
        after = xshm::last_error_message();
    };
    auto both = connected("inside", calls, {});
    CHECK(!what.empty() && what.find("on purpose") == std::string::npos);
    CHECK(after == "on purpose");
    std::string text;
    CHECK(both.server.try_receive(text) == SHM_ERROR_EMPTY);
    CHECK(xshm::last_error_message() != "on purpose");
}

/// The callbacks of a background endpoint run on its worker.
void automatic()
{
    const std::string name = name_of("auto");
    reports server_reports;
    xshm::callbacks server_calls;
    server_calls.on_connect = server_calls.on_disconnect = server_calls.on_data_available = boom;
    server_calls.on_message = [](xshm::direction, xshm::view) { boom(); };
    server_calls.on_error = [&](std::error_code error) { server_reports.add(error); };
    xshm::auto_server server(name, server_calls);
    {
        xshm::auto_client client(name);
        for (int sent = 0; sent < 10; sent++) CHECK(!client.send("hello", patience));
        // on_connect, and on_data_available and on_message for each message.
        server_reports.wait_for(21);
    }
    server_reports.wait_for(22);
    // The worker still serves.
    xshm::auto_client client(name);
    CHECK(!client.send("hello", patience));
    server_reports.wait_for(25);
}

void multi()
{
    const std::string name = name_of("multi");
    reports server_reports, client_reports;
    xshm::multi_callbacks server_calls;
    server_calls.on_client_connect = server_calls.on_client_disconnect = [](std::uint32_t) { boom(); };
    server_calls.on_message = [](std::uint32_t, xshm::view) { boom(); };
    server_calls.on_error = [&](std::uint32_t id, std::error_code error) {
        CHECK(id != SHM_NO_CLIENT);
        server_reports.add(error);
    };
    xshm::multi_server server(name, server_calls);
    xshm::multi_client_callbacks client_calls;
    client_calls.on_connect = [](std::uint32_t) { boom(); };
    client_calls.on_disconnect = boom;
    client_calls.on_message = [](xshm::view) { boom(); };
    client_calls.on_error = [&](std::error_code error) { client_reports.add(error); };
    xshm::multi_client client(name, client_calls);
    CHECK(!client.send("hello"));
    server_reports.wait_for(2);
    CHECK(!server.send_to(client.slot_id(), "answer"));
    client_reports.wait_for(2);
    CHECK(!server.disconnect_client(client.slot_id()));
    client_reports.wait_for(3);
    server_reports.wait_for(3);
}

#endif

/// Without exceptions, a constructor that fails leaves an object without a handle.
void constructors()
{
#if XSHM_HPP_HAS_EXCEPTIONS
    bool failed = false;
    try {
        xshm::client client(name_of("nothing"), 1ms);
    } catch (const xshm::error &) {
        failed = true;
    }
    CHECK(failed);
#else
    xshm::client client(name_of("nothing"), 1ms);
    CHECK(!client && shm_last_error() != SHM_SUCCESS && !xshm::last_error_message().empty());
    CHECK(client.send("nothing") == SHM_ERROR_INVALID_PARAM);
    const std::string name = name_of("something");
    xshm::server server(name);
    CHECK(server);
    xshm::server second(name);
    CHECK(!second && shm_last_error() == SHM_ERROR_EXISTS);
#endif
}

} // namespace

int main()
{
    constructors();
#if XSHM_HPP_HAS_EXCEPTIONS
    synchronous();
    dropped();
    inside_on_error();
    automatic();
    multi();
    std::puts("exceptions: caught and reported");
#else
    std::puts("without exceptions: constructors report");
#endif
}
