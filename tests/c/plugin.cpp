// A plug-in: a shared library with endpoints in objects with static storage duration, which nothing stops unless its host asks
// for it. tests/c/plugin_host.c loads it.
#include "xshm.hpp"

#include <atomic>
#include <optional>
#include <string>

#include "platform.h"

#ifdef _WIN32
#define EXPORTED extern "C" __declspec(dllexport)
#else
#define EXPORTED extern "C" __attribute__((visibility("default")))
#endif

using namespace std::chrono_literals;

namespace {

/// What a plug-in has. The members are destroyed in reverse order.
struct plugin {
    std::atomic<unsigned> messages{0};
    std::atomic<unsigned> in_callbacks{0};
    std::optional<xshm::server> server;
    std::optional<xshm::client> client;
    std::optional<xshm::auto_server> auto_server;
    std::optional<xshm::auto_client> auto_client;
    std::optional<xshm::multi_server> multi_server;
    std::optional<xshm::multi_client> multi_client;
};
plugin own;

void send_to_all()
{
    (void)own.auto_server->send("xx");
    (void)own.auto_client->send("xx");
    (void)own.multi_server->broadcast("xx");
    (void)own.multi_client->send("xx");
}

THREAD connect_client(void *name)
{
    own.client.emplace(*static_cast<std::string *>(name), 10s);
    return THREAD_END;
}

/// Waits until a count is reached.
bool comes(const std::atomic<unsigned> &count, unsigned at_least)
{
    for (int waited = 0; waited < 20000 && count < at_least; waited++) pause_ms(1);
    return count >= at_least;
}

} // namespace

/// Starts all endpoints, and exchanges messages. Returns whether it could.
EXPORTED int plugin_start(const char *name)
{
    try {
        const std::string prefix = name;
        xshm::callbacks calls;
        calls.on_message = [](xshm::direction, xshm::view) { own.messages++; };
        xshm::multi_callbacks server_calls;
        server_calls.on_message = [](std::uint32_t, xshm::view) { own.messages++; };
        xshm::multi_client_callbacks client_calls;
        client_calls.on_message = [](xshm::view) { own.messages++; };
        own.messages = 0;
        std::string sync = prefix + ".sync";
        thread_t connecting;
        own.server.emplace(sync);
        begin(&connecting, connect_client, &sync);
        const bool connected = !own.server->wait_for_client(10s);
        join(connecting);
        own.auto_server.emplace(prefix + ".auto", calls);
        own.auto_client.emplace(prefix + ".auto", calls);
        own.multi_server.emplace(prefix + ".multi", server_calls);
        own.multi_client.emplace(prefix + ".multi", client_calls);
        send_to_all();
        return connected && comes(own.messages, 4);
    } catch (const xshm::error &) {
        return 0;
    }
}

EXPORTED void plugin_stop()
{
    own.multi_client.reset();
    own.multi_server.reset();
    own.auto_client.reset();
    own.auto_server.reset();
    own.client.reset();
    own.server.reset();
}

/// A thread of the host's calls this, and is inside a call of the library from then on.
EXPORTED void plugin_receive()
{
    std::string text;
    (void)own.server->receive(text);
}

/// As plugin_receive, but the thread is inside one call after the other.
EXPORTED void plugin_send()
{
    for (;;) {
        (void)own.server->send("xx");
        send_to_all();
    }
}

/// Returns when threads of the library are inside callbacks, for ever, of an auto endpoint and of a multi-client one.
EXPORTED int plugin_wait_in_callbacks(const char *name)
{
    const std::string prefix = name;
    xshm::callbacks calls;
    calls.on_connect = [] {
        own.in_callbacks++;
        for (;;) pause_ms(1000);
    };
    xshm::multi_callbacks server_calls;
    server_calls.on_message = [](std::uint32_t, xshm::view) {
        own.in_callbacks++;
        for (;;) pause_ms(1000);
    };
    plugin_stop();
    own.auto_server.emplace(prefix + ".auto", calls);
    own.auto_client.emplace(prefix + ".auto");
    own.multi_server.emplace(prefix + ".multi", server_calls);
    own.multi_client.emplace(prefix + ".multi");
    return !own.multi_client->send("xx") && comes(own.in_callbacks, 2);
}
