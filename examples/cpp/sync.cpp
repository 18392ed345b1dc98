// The same as examples/c/sync.c, in C++:
//
//   sync serve NAME       starts the server, receives a message, and answers
//   sync connect NAME     connects, sends a message, and receives the answer
#include "xshm.hpp"

#include <cstdio>
#include <exception>
#include <string>

using namespace std::chrono_literals;

namespace {

constexpr auto patience = 20s;

/// Throws what the last failed call reports. Call it on the thread of that call.
void check(std::error_code error, const char *doing)
{
    if (error) throw xshm::error(std::string(doing) + ": " + xshm::last_error_message());
}

void serve(const std::string &name)
{
    xshm::server server(name); // throws if it cannot start
    check(server.wait_for_client(patience), "waiting for a client");
    std::string message;
    check(server.receive(message, patience), "receiving");
    std::printf("the client says: %s\n", message.c_str());
    check(server.send("pong", patience), "sending");
} // the destructor stops the server; the client still receives what was sent

void connect(const std::string &name)
{
    xshm::client client(name, patience); // waits for the server to start
    check(client.send("ping", patience), "sending");
    std::string message;
    check(client.receive(message, patience), "receiving");
    std::printf("the server says: %s\n", message.c_str());
}

} // namespace

int main(int argc, char **argv)
try {
    const std::string role = argc == 3 ? argv[1] : "";
    if (role != "serve" && role != "connect") {
        std::fprintf(stderr, "usage: sync serve|connect NAME\n");
        return 2;
    }
    role == "serve" ? serve(argv[2]) : connect(argv[2]);
    return 0;
} catch (const std::exception &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
