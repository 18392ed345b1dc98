// Batches, and messages written and read in place, in C++.
#include "xshm.hpp"

#include "check.hpp"
#include "platform.h" // for threads: some MinGW compilers lack std::thread

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

using namespace std::chrono_literals;

static THREAD accept(void *with)
{
    CHECK(!static_cast<xshm::server *>(with)->wait_for_client(20s));
    return THREAD_END;
}

int main()
{
    const std::string name = "bulk-cpp-" + std::to_string(std::chrono::steady_clock::now().time_since_epoch().count());
    xshm::options options;
    options.reject_when_full = true;
    options.message_limit = 4;
    xshm::server server(name, {}, options);
    thread_t accepting;
    begin(&accepting, accept, &server);
    xshm::client client(name, 20s);
    join(accepting);

    const std::vector<std::string> texts = {"one", "two", "three", "four", "five"};
    std::size_t sent = 0;
    CHECK(server.send_batch(texts, &sent) == SHM_ERROR_FULL && sent == 4);
    CHECK(server.try_send_batch(texts, &sent) == SHM_ERROR_FULL && sent == 0);
    xshm::batch batch;
    CHECK(!client.receive_batch(batch) && batch.size() == 4);
    std::size_t at = 0;
    for (const xshm::view message : batch) CHECK(message.text() == texts[at++]);
    CHECK(at == 4 && batch[3].text() == "four");
    CHECK(client.receive_batch(batch, 1ms) == SHM_ERROR_TIMEOUT && batch.empty());
    xshm::batch small(2, 0);
    CHECK(!client.try_send_batch(std::vector<std::vector<unsigned char>>{{1, 2}, {3, 4}, {5, 6}}));
    CHECK(!server.receive_batch(small, 5s) && small.size() == 2);
    CHECK(!server.receive_batch(small, 5s) && small.size() == 1);

    CHECK(!server.send_with(5, [](std::byte *place) { std::memcpy(place, "place", 5); }));
    CHECK(server.send_with(1, [](std::byte *) { std::exit(1); }) == SHM_ERROR_MESSAGE_TOO_SMALL);
    std::string read;
    CHECK(!client.receive_with([&](xshm::view message) { read = message.text(); }));
    CHECK(read == "place");
    CHECK(client.receive_with([](xshm::view) { std::exit(1); }, 0ms) == SHM_ERROR_TIMEOUT);

    // A callback that throws sends nothing, and takes nothing.
    try {
        (void)server.send_with(5, [](std::byte *) { throw std::runtime_error("on purpose"); });
        CHECK(false);
    } catch (const std::runtime_error &) {
    }
    CHECK(!server.send("other"));
    try {
        (void)client.receive_with([](xshm::view) { throw std::runtime_error("on purpose"); });
        CHECK(false);
    } catch (const std::runtime_error &) {
    }
    CHECK(!client.receive(read, 5s) && read == "other");
    std::puts("batches and messages in place: as they should be");
}
