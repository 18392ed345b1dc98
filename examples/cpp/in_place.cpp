// The same as examples/c/in_place.c, in C++:
//
//   in_place serve NAME       sends 1,000 messages of 10,000 numbers, and receives their sum
//   in_place connect NAME     adds the numbers up
//
// A client that reads in place must trust the server: a server that breaks the rules can change what is being read.
#include "xshm.hpp"

#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>

using namespace std::chrono_literals;

namespace {

constexpr auto patience = 20s;
constexpr std::uint32_t messages = 1000, numbers = 10000;

/// Throws what the last failed call reports. Call it on the thread of that call.
void check(std::error_code error, const char *doing)
{
    if (error) throw xshm::error(std::string(doing) + ": " + xshm::last_error_message());
}

void serve(const std::string &name)
{
    xshm::options options;
    options.reject_when_full = true; // no message may be evicted while the client reads it; without this, receive_with fails
    xshm::server server(name, {}, options);
    check(server.wait_for_client(patience), "waiting for a client");
    std::uint64_t sum = 0, received = 0;
    for (std::uint32_t message = 0; message < messages; message++) {
        const auto write = [&](std::byte *place) { // aligned to 8 bytes
            auto *to = reinterpret_cast<std::uint32_t *>(place);
            for (std::uint32_t at = 0; at < numbers; at++) {
                to[at] = message ^ at;
                sum += message ^ at;
            }
        };
        check(server.send_with(numbers * sizeof(std::uint32_t), write, patience), "sending");
    }
    check(server.receive_object(received, patience), "receiving the sum");
    if (received != sum) throw std::runtime_error("the client has received other numbers");
    std::printf("the client has received every number\n");
}

void connect(const std::string &name)
{
    xshm::client client(name, patience);
    std::uint64_t sum = 0;
    for (std::uint32_t message = 0; message < messages; message++) {
        const auto read = [&](xshm::view in_place) { // valid until the lambda returns
            const auto *from = static_cast<const std::uint32_t *>(in_place.data());
            for (std::size_t at = 0; at < in_place.size() / sizeof *from; at++) sum += from[at];
        };
        check(client.receive_with(read, patience), "receiving");
    }
    check(client.send(xshm::bytes_of(sum), patience), "sending the sum");
    std::printf("the sum is %llu\n", static_cast<unsigned long long>(sum));
}

} // namespace

int main(int argc, char **argv)
try {
    const std::string role = argc == 3 ? argv[1] : "";
    if (role != "serve" && role != "connect") {
        std::fprintf(stderr, "usage: in_place serve|connect NAME\n");
        return 2;
    }
    role == "serve" ? serve(argv[2]) : connect(argv[2]);
    return 0;
} catch (const std::exception &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
