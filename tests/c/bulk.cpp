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
    CHECK(client.receive_with([](xshm::view) { std::exit(1); }, 0ms) == SHM_ERROR_EMPTY);

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

    // Frames of 3840 x 2160 pixels in RGBA.
    constexpr std::uint32_t frame_bytes = 33177600;
    options.ring_bytes = 64u << 20;
    options.max_message_bytes = frame_bytes;
    xshm::server pictures(name + "-pictures", {}, options);
    begin(&accepting, accept, &pictures);
    xshm::client viewer(name + "-pictures", 20s);
    join(accepting);
    CHECK(pictures.max_message_bytes() == frame_bytes && viewer.max_message_bytes() == frame_bytes);
    for (int number = 0; number < 3; number++) {
        const auto paint = [&](std::byte *place) { std::memset(place, number, frame_bytes); };
        CHECK(!pictures.send_with(frame_bytes, paint, 20s));
        bool is_same = false;
        CHECK(!viewer.receive_with([&](xshm::view frame) {
            is_same = frame.size() == frame_bytes && static_cast<const unsigned char *>(frame.data())[0] == number &&
                      std::memcmp(frame.data(), static_cast<const unsigned char *>(frame.data()) + 1, frame_bytes - 1) == 0;
        }));
        CHECK(is_same);
    }
    // A batch grows to a message that is longer than its room.
    const std::vector<unsigned char> long_message(1000000, 7);
    CHECK(!pictures.send(long_message) && !pictures.send(""));
    std::vector<std::size_t> sizes;
    while (sizes.size() < 2) {
        CHECK(!viewer.receive_batch(batch, 20s));
        for (const xshm::view message : batch) sizes.push_back(message.size());
    }
    CHECK(sizes[0] == 1000000 && sizes[1] == 0);

    // A call and an answer that are longer than those of other channels.
    xshm::auto_server *answering = nullptr;
    xshm::callbacks calls;
    calls.on_call = [&](xshm::call from, xshm::view bytes) { CHECK(!answering->answer(from, bytes)); };
    xshm::auto_server answers(name + "-answers", calls, shm_auto_options_default(), options);
    answering = &answers;
    xshm::caller caller(name + "-answers", 20s);
    const std::vector<unsigned char> question(3000000, 9);
    std::vector<unsigned char> answer;
    CHECK(!caller.call(question, answer, 20s) && answer == question);
    std::puts("batches and messages in place: as they should be");
}
