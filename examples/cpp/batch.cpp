// The same as examples/c/batch.c, in C++:
//
//   batch serve NAME       sends 10,000 records in batches of 100
//   batch connect NAME     receives them, as many in each call as are there
#include "xshm.hpp"

#include <cstdio>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

using namespace std::chrono_literals;

namespace {

constexpr auto patience = 20s;
constexpr std::uint32_t record_count = 10000, batch_size = 100;

struct record {
    std::uint32_t number, square;
};

/// Throws what the last failed call reports. Call it on the thread of that call.
void check(std::error_code error, const char *doing)
{
    if (error) throw xshm::error(std::string(doing) + ": " + xshm::last_error_message());
}

void serve(const std::string &name)
{
    xshm::server server(name);
    check(server.wait_for_client(patience), "waiting for a client");
    std::vector<record> records(batch_size);
    for (std::uint32_t first = 0; first < record_count; first += batch_size) {
        std::vector<xshm::view> messages;
        for (std::uint32_t each = 0; each < batch_size; each++) {
            records[each] = {first + each, (first + each) * (first + each)};
            messages.push_back(xshm::bytes_of(records[each]));
        }
        check(server.send_batch(messages, patience), "sending"); // waits until all have room
    }
    std::printf("%u records were sent\n", static_cast<unsigned>(record_count));
} // the client still receives what was sent

void connect(const std::string &name)
{
    xshm::client client(name, patience);
    xshm::batch batch;
    std::uint32_t received = 0;
    while (received < record_count) {
        check(client.receive_batch(batch, patience), "receiving");
        for (const auto message : batch) {
            record next{};
            if (message.size() != sizeof next) throw std::runtime_error("a message is no record");
            std::memcpy(&next, message.data(), sizeof next); // the data is not aligned
            if (next.number != received || next.square != received * received) throw std::runtime_error("a record is another one");
            received++;
        }
    }
    std::printf("%u records were received\n", static_cast<unsigned>(received));
}

} // namespace

int main(int argc, char **argv)
try {
    const std::string role = argc == 3 ? argv[1] : "";
    if (role != "serve" && role != "connect") {
        std::fprintf(stderr, "usage: batch serve|connect NAME\n");
        return 2;
    }
    role == "serve" ? serve(argv[2]) : connect(argv[2]);
    return 0;
} catch (const std::exception &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
