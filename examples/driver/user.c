/*
 * The user program of the driver xshm_echo, in C; main.rs is one in Rust.
 *
 *   user install FILE.sys      makes a service of the driver, and starts it (as an administrator)
 *   user remove                stops the driver and removes the service
 *   user talk COUNT            sends COUNT messages to the driver and receives them back, by a server without a name
 *   user talk COUNT NAME       the same, by a server with that name
 *   user forever               the same without end, until it is killed
 *   user wrong                 checks that the driver refuses invalid requests
 *   user scribble COUNT        writes garbage into the section while the driver works, COUNT times
 */
#include "xshm.h"

#include <windows.h>
#include <winioctl.h>

#include "xshm_echo.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SERVICE L"xshm_echo"
#define PATIENCE 20000
/* The number of messages under way at the same time. */
#define WINDOW 100

static int fail(const char *doing)
{
    char why[256];
    DWORD code = GetLastError();
    shm_last_error_message(why, sizeof why);
    fprintf(stderr, "%s: Windows says %lu; xshm says %s\n", doing, (unsigned long)code, why);
    exit(1);
}

#define CHECK(condition) ((condition) ? (void)0 : (void)fail(#condition))

/* ---------------------------------------------------------------------------------------------------- service */

static void remove_service(void)
{
    SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_ALL_ACCESS), service;
    SERVICE_STATUS status;
    CHECK(manager);
    service = OpenServiceW(manager, SERVICE, SERVICE_ALL_ACCESS);
    if (service) {
        unsigned waited = 0;
        ControlService(service, SERVICE_CONTROL_STOP, &status);
        while (QueryServiceStatus(service, &status) && status.dwCurrentState != SERVICE_STOPPED) {
            CHECK(waited++ < 1000);
            Sleep(10);
        }
        CHECK(DeleteService(service));
        CloseServiceHandle(service);
    }
    CloseServiceHandle(manager);
}

static void install_service(const char *file)
{
    SC_HANDLE manager, service;
    wchar_t path[MAX_PATH], full[MAX_PATH];
    CHECK(MultiByteToWideChar(CP_ACP, 0, file, -1, path, MAX_PATH) > 0);
    CHECK(GetFullPathNameW(path, MAX_PATH, full, NULL) > 0 && GetFileAttributesW(full) != INVALID_FILE_ATTRIBUTES);
    /* Removes the service of an earlier run. */
    remove_service();
    manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_ALL_ACCESS);
    CHECK(manager);
    service = CreateServiceW(manager, SERVICE, SERVICE, SERVICE_ALL_ACCESS, SERVICE_KERNEL_DRIVER, SERVICE_DEMAND_START,
        SERVICE_ERROR_NORMAL, full, NULL, NULL, NULL, NULL, NULL);
    CHECK(service);
    CHECK(StartServiceW(service, 0, NULL));
    CloseServiceHandle(service);
    CloseServiceHandle(manager);
}

/* ---------------------------------------------------------------------------------------------------- driver */

static HANDLE open_driver(void)
{
    HANDLE device = CreateFileA(XSHM_ECHO_PATH, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING, 0, NULL);
    if (device == INVALID_HANDLE_VALUE) fail("opening the driver's device");
    return device;
}

static xshm_echo_attach handles_of(ServerHandle *server)
{
    shm_client_handles_t handles;
    xshm_echo_attach given;
    if (shm_server_client_handles(server, &handles) != SHM_SUCCESS) fail("asking for the channel's handles");
    given.section = (unsigned long long)handles.section;
    given.events[0] = (unsigned long long)handles.s2c_data;
    given.events[1] = (unsigned long long)handles.c2s_data;
    given.events[2] = (unsigned long long)handles.s2c_space;
    given.events[3] = (unsigned long long)handles.c2s_space;
    given.events[4] = (unsigned long long)handles.request;
    given.events[5] = (unsigned long long)handles.acknowledge;
    given.events[6] = (unsigned long long)handles.disconnect;
    return given;
}

static int attach(HANDLE device, const xshm_echo_attach *given)
{
    DWORD bytes;
    return DeviceIoControl(device, IOCTL_XSHM_ECHO_ATTACH, (void *)given, sizeof *given, NULL, 0, &bytes, NULL);
}

static int detach(HANDLE device)
{
    DWORD bytes;
    return DeviceIoControl(device, IOCTL_XSHM_ECHO_DETACH, NULL, 0, NULL, 0, &bytes, NULL);
}

static xshm_echo_status status_of(HANDLE device)
{
    xshm_echo_status status;
    DWORD bytes;
    if (!DeviceIoControl(device, IOCTL_XSHM_ECHO_STATUS, NULL, 0, &status, sizeof status, &bytes, NULL)) fail("asking the driver");
    return status;
}

static ServerHandle *start(const char *name)
{
    shm_options_t options = shm_options_default();
    shm_endpoint_config_t config = xshm_server_config(name);
    ServerHandle *server;
    options.anonymous_events = 1;
    server = name ? shm_server_start_with_options(&config, NULL, &options) : shm_server_start_anonymous(0, NULL, &options);
    if (!server) fail("starting the server");
    return server;
}

/* Starts a server, and connects the driver as its client. */
static ServerHandle *connected(HANDLE device, const char *name)
{
    ServerHandle *server = start(name);
    xshm_echo_attach given = handles_of(server);
    if (!attach(device, &given)) fail("attaching the driver");
    if (shm_server_wait_for_client(server, PATIENCE) != SHM_SUCCESS) fail("waiting for the driver");
    return server;
}

/* ---------------------------------------------------------------------------------------------------- talking */

/* Writes message `number`: its number, and up to 1,000 bytes that are calculated from it. */
static uint32_t fill(unsigned char *message, uint32_t number)
{
    uint32_t size = 4 + number * 2654435761u % 1000u, at;
    memcpy(message, &number, 4);
    for (at = 4; at < size; at++) message[at] = (unsigned char)(number + at);
    return size;
}

/* Sends `count` messages and checks the answers; WINDOW messages are under way at the same time. */
static void exchange(ServerHandle *server, uint32_t count)
{
    static unsigned char message[4096], answer[4096];
    uint32_t sent = 0, answered = 0, at;
    while (answered < count) {
        uint32_t size = sizeof answer;
        while (sent < count && sent - answered < WINDOW) {
            if (shm_server_send_timeout(server, message, fill(message, sent), PATIENCE) != SHM_SUCCESS) fail("sending");
            sent++;
        }
        if (shm_server_receive_timeout(server, answer, &size, PATIENCE) != SHM_SUCCESS) fail("receiving");
        for (at = 0; at < size; at++) answer[at] = (unsigned char)~answer[at];
        if (fill(message, answered) != size || memcmp(message, answer, size) != 0) {
            fprintf(stderr, "answer %u is another message\n", (unsigned)answered);
            exit(1);
        }
        answered++;
    }
}

/* Fills the ring to the server and a part of the other one before it receives: the driver has to sleep until there is room. */
static void flood(HANDLE device, ServerHandle *server)
{
    static unsigned char message[4096], answer[4096];
    unsigned long long before = status_of(device).space_sleeps;
    uint32_t number;
    for (number = 0; number < 400; number++) {
        CHECK(shm_server_send_timeout(server, message, fill(message, number), PATIENCE) == SHM_SUCCESS);
    }
    for (number = 0; status_of(device).space_sleeps == before; number++) {
        CHECK(number < 5000);
        Sleep(1);
    }
    for (number = 0; number < 400; number++) {
        uint32_t size = sizeof answer;
        CHECK(shm_server_receive_timeout(server, answer, &size, PATIENCE) == SHM_SUCCESS);
        CHECK(fill(message, number) == size);
    }
}

static void talk(uint32_t count, const char *name)
{
    HANDLE device = open_driver();
    ServerHandle *server = connected(device, name);
    LARGE_INTEGER before, after, frequency;
    xshm_echo_status status;
    unsigned waited = 0;
    double seconds;
    QueryPerformanceFrequency(&frequency);
    QueryPerformanceCounter(&before);
    exchange(server, count);
    QueryPerformanceCounter(&after);
    seconds = (double)(after.QuadPart - before.QuadPart) / (double)frequency.QuadPart;
    status = status_of(device);
    CHECK(status.running && status.code == 0 && status.received == count && status.sent == count);
    printf("%u messages to the driver and back in %.2f s; it slept %llu times\n", (unsigned)count, seconds, status.data_sleeps);
    /* Wait until the driver has ended the attachments of programs that were killed. */
    while ((status = status_of(device)).attachments != 1) {
        CHECK(waited++ < 5000);
        Sleep(1);
    }
    flood(device, server);
    CHECK(detach(device));
    /* The driver has left: the server notices this, and can accept another client. */
    CHECK(shm_server_poll(server, PATIENCE) == SHM_ERROR_NOT_CONNECTED);
    {
        xshm_echo_attach given = handles_of(server);
        CHECK(attach(device, &given));
        CHECK(shm_server_wait_for_client(server, PATIENCE) == SHM_SUCCESS);
        exchange(server, 100);
    }
    /* The server stops, and the driver notices this. */
    shm_server_stop(server);
    while (status_of(device).running) Sleep(1);
    CloseHandle(device);
}

static void forever(void)
{
    HANDLE device = open_driver();
    ServerHandle *server = connected(device, NULL);
    printf("talking\n");
    fflush(stdout);
    for (;;) exchange(server, 1000);
}

/* Makes a section with these attributes that contains the same bytes. The file may be INVALID_HANDLE_VALUE. */
static HANDLE copy_of(unsigned long long section, HANDLE file, DWORD attributes)
{
    void *from = MapViewOfFile((HANDLE)(ULONG_PTR)section, FILE_MAP_READ | FILE_MAP_WRITE, 0, 0, 0), *to;
    MEMORY_BASIC_INFORMATION view;
    HANDLE copy;
    CHECK(from && VirtualQuery(from, &view, sizeof view) == sizeof view);
    copy = CreateFileMappingW(file, NULL, PAGE_READWRITE | attributes, 0, (DWORD)view.RegionSize, NULL);
    CHECK(copy);
    to = MapViewOfFile(copy, FILE_MAP_READ | FILE_MAP_WRITE, 0, 0, 0);
    CHECK(to);
    if (attributes & SEC_RESERVE) CHECK(VirtualAlloc(to, view.RegionSize, MEM_COMMIT, PAGE_READWRITE));
    memcpy(to, from, view.RegionSize);
    UnmapViewOfFile(from);
    UnmapViewOfFile(to);
    return copy;
}

/* Checks that the driver accepts a copy of the channel's section with exactly the attribute SEC_COMMIT, and no other copy. */
static void attributes(HANDLE device, const xshm_echo_attach *given)
{
    static const DWORD others[] = {SEC_RESERVE, SEC_COMMIT | SEC_NOCACHE, SEC_COMMIT | SEC_WRITECOMBINE, 0};
    wchar_t folder[MAX_PATH], name[MAX_PATH];
    xshm_echo_attach copy = *given;
    HANDLE file, section = copy_of(given->section, INVALID_HANDLE_VALUE, SEC_COMMIT);
    unsigned each;
    copy.section = (unsigned long long)(ULONG_PTR)section;
    CHECK(attach(device, &copy));
    CHECK(detach(device));
    CloseHandle(section);
    CHECK(GetTempPathW(MAX_PATH, folder) && GetTempFileNameW(folder, L"xsh", 0, name));
    file = CreateFileW(name, GENERIC_READ | GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, FILE_FLAG_DELETE_ON_CLOSE, NULL);
    CHECK(file != INVALID_HANDLE_VALUE);
    for (each = 0; each < 4; each++) {
        section = copy_of(given->section, others[each] == 0 ? file : INVALID_HANDLE_VALUE, others[each]);
        copy.section = (unsigned long long)(ULONG_PTR)section;
        SetLastError(0);
        CHECK(!attach(device, &copy) && GetLastError() == ERROR_INVALID_PARAMETER);
        CloseHandle(section);
    }
    CloseHandle(file);
}

static void wrong(void)
{
    HANDLE device = open_driver(), another = open_driver();
    ServerHandle *server = start(NULL), *plain = shm_server_start_anonymous(0, NULL, NULL);
    xshm_echo_attach given = handles_of(server), bad;
    DWORD bytes;
    int each;
    CHECK(!detach(device) && GetLastError() == ERROR_NOT_FOUND);
    CHECK(!DeviceIoControl(device, IOCTL_XSHM_ECHO_ATTACH, &given, sizeof given - 1, NULL, 0, &bytes, NULL));
    CHECK(!DeviceIoControl(device, IOCTL_XSHM_ECHO_STATUS, NULL, 0, &bytes, sizeof bytes, &bytes, NULL));
    CHECK(!DeviceIoControl(device, CTL_CODE(FILE_DEVICE_UNKNOWN, 0x8ff, METHOD_BUFFERED, FILE_READ_ACCESS), NULL, 0, NULL, 0, &bytes,
                           NULL));
    for (each = 0; each < 8; each++) {
        static const unsigned long long values[] = {0, 0x7ff0, 0xffffffffffffffffull, 0xffffffff80000004ull};
        unsigned value;
        for (value = 0; value < 4; value++) {
            bad = given;
            *(each == 0 ? &bad.section : &bad.events[each - 1]) = values[value];
            CHECK(!attach(device, &bad));
        }
        /* A handle of another type. */
        bad = given;
        *(each == 0 ? &bad.section : &bad.events[each - 1]) = each == 0 ? given.events[0] : given.section;
        CHECK(!attach(device, &bad));
    }
    /* A section that is no channel. */
    bad = given;
    bad.section = (unsigned long long)(ULONG_PTR)CreateFileMappingW(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, 1 << 20, NULL);
    CHECK(!attach(device, &bad));
    CloseHandle((HANDLE)(ULONG_PTR)bad.section);
    attributes(device, &given);

    CHECK(attach(device, &given));
    CHECK(!attach(device, &given) && GetLastError() == ERROR_BUSY);
    CHECK(!attach(another, &given) && GetLastError() == ERROR_BUSY);
    CHECK(shm_server_wait_for_client(server, PATIENCE) == SHM_SUCCESS);
    exchange(server, 100);
    /* A second channel at the same time, by another handle of the device. */
    {
        ServerHandle *second = connected(another, NULL);
        exchange(second, 100);
        exchange(server, 100);
        CloseHandle(another);
        CHECK(shm_server_poll(second, PATIENCE) == SHM_ERROR_NOT_CONNECTED);
        shm_server_stop(second);
    }
    CloseHandle(device);
    CHECK(shm_server_poll(server, PATIENCE) == SHM_ERROR_NOT_CONNECTED);
    shm_server_stop(server);
    shm_server_stop(plain);
    printf("what is wrong is refused\n");
}

static void scribble(uint32_t count)
{
    HANDLE device = open_driver();
    uint32_t round, broken = 0, over = 0, alive = 0;
    srand(1);
    for (round = 0; round < count; round++) {
        ServerHandle *server = connected(device, NULL);
        intptr_t section = shm_server_section_handle(server);
        unsigned char *base = MapViewOfFile((HANDLE)section, FILE_MAP_READ | FILE_MAP_WRITE, 0, 0, 0), message[64] = {0};
        xshm_echo_status status;
        int each;
        CHECK(base);
        for (each = 0; each < 200; each++) {
            uint32_t size = sizeof message;
            uint64_t garbage = (uint64_t)rand() << 40 ^ (uint64_t)rand() << 20 ^ (uint64_t)rand();
            /* Mostly headers and positions, which the driver reads. */
            size_t at = rand() % 4 == 0 ? 64 + 8 * (rand() % 2) : rand() % 4 == 0 ? 8 * (rand() % 24) : 128 + 64 * (rand() % 256);
            memcpy(base + at, &garbage, rand() % 2 ? 8 : 4);
            /* These calls may fail; the driver must not. */
            shm_server_try_send(server, message, size);
            shm_server_try_receive(server, message, &size);
            if (each % 50 == 0) Sleep(1);
        }
        status = status_of(device);
        broken += status.code == 10;
        over += status.code == 9;
        alive += status.running != 0;
        CHECK(detach(device));
        UnmapViewOfFile(base);
        shm_server_stop(server);
    }
    printf("%u sections scribbled over: the driver found %u broken and %u over, and %u sessions still lived\n", (unsigned)count,
           (unsigned)broken, (unsigned)over, (unsigned)alive);
    CHECK(broken > 0);
    CloseHandle(device);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    uint32_t count = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0;
    if (argc == 3 && strcmp(what, "install") == 0) install_service(argv[2]);
    else if (argc == 2 && strcmp(what, "remove") == 0) remove_service();
    else if (argc >= 3 && count > 0 && strcmp(what, "talk") == 0) talk(count, argc > 3 ? argv[3] : NULL);
    else if (argc == 2 && strcmp(what, "forever") == 0) forever();
    else if (argc == 2 && strcmp(what, "wrong") == 0) wrong();
    else if (argc == 3 && count > 0 && strcmp(what, "scribble") == 0) scribble(count);
    else {
        fprintf(stderr, "usage: user install FILE.sys | remove | talk COUNT [NAME] | forever | wrong | scribble COUNT\n");
        return 2;
    }
    return 0;
}
