// The same as examples/c/echo.c, in C++:
//
//   echo serve NAME COUNT     waits for a client, sends it COUNT messages, and checks the answers
//   echo answer NAME COUNT    connects, and sends back what it receives
#include "xshm.hpp"

#include <cstdio>
#include <cstdlib>
#include <exception>

using namespace std::chrono_literals;

namespace {

constexpr auto patience = 20s;

/// Message `number` has the 4 bytes of its number, and up to 5,000 more that are calculated from it.
std::vector<unsigned char> message(std::uint32_t number)
{
    std::vector<unsigned char> message(4 + number * 7919u % 5000u);
    for (std::uint32_t at = 0; at < message.size(); at++) {
        message[at] = static_cast<unsigned char>(at < 4 ? number >> 8 * at : number + at);
    }
    return message;
}

void check(std::error_code error, const char *doing)
{
    if (error) throw std::system_error(error, doing);
}

void serve(const std::string &name, std::uint32_t count)
{
    xshm::server server(name);
    check(server.wait_for_client(patience), "waiting for a client");
    std::vector<unsigned char> answer;
    for (std::uint32_t number = 0; number < count; number++) {
        const auto sent = message(number);
        check(server.send(sent, patience), "sending");
        check(server.receive(answer, patience), "receiving");
        if (answer != sent) throw std::runtime_error("answer " + std::to_string(number) + " is another message");
    }
    std::printf("%u messages came back\n", static_cast<unsigned>(count));
}

void answer(const std::string &name, std::uint32_t count)
{
    xshm::client client(name, patience);
    std::string message;
    for (std::uint32_t number = 0; number < count; number++) {
        check(client.receive(message, patience), "receiving");
        check(client.send(message, patience), "sending");
    }
}

} // namespace

int main(int argc, char **argv)
try {
    const std::string role = argc == 4 ? argv[1] : "";
    if (role != "serve" && role != "answer") {
        std::fprintf(stderr, "usage: echo serve|answer NAME COUNT\n");
        return 2;
    }
    const auto count = static_cast<std::uint32_t>(std::strtoul(argv[3], nullptr, 10));
    role == "serve" ? serve(argv[2], count) : answer(argv[2], count);
    return 0;
} catch (const std::exception &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
