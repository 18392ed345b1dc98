/*
 * A kernel driver (WDM) that is the client of a channel: it sends each message back with its bytes inverted.
 *
 * A user program starts a server, and passes the channel's handles by IOCTL_XSHM_ECHO_ATTACH. A system thread then works as the
 * client, by xshm_driver.h, until the program detaches, closes the device or dies, or the session is over.
 *
 * The handles. On Windows the driver looks them up in the caller's context and for UserMode, so that the kernel checks type and
 * access as it would for the caller. Wine 8 runs drivers in a separate process, where the caller's handles are not valid. Built
 * with -DXSHM_ECHO_UNDER_WINE, the driver duplicates them from the caller's process. Only this build is tested.
 *
 * All code here runs at PASSIVE_LEVEL: in the dispatch routines, which are called from user mode, and in the thread.
 */
#include <ntifs.h>

#include "xshm_driver.h"
#include "xshm_echo.h"

/* The pool tag, which tools show as "Xshm". */
#define TAG 0x6d687358
#define EVENTS 7
#define ENDS 250

/*
 * Declarations that the headers lack, or have in another form.
 *
 * The kernel exports a variable of type POBJECT_TYPE for each type of object. Microsoft's headers declare a pointer to that
 * variable. MinGW's headers have the same declaration, but import the variable itself: there, the name is the type already.
 *
 * The kernel also exports MmSectionObjectType and ZwQuerySection, and no public header declares them.
 */
#ifdef __GNUC__
extern POBJECT_TYPE NTSYSAPI *MmSectionObjectType;
#define EVENT_TYPE ((POBJECT_TYPE)ExEventObjectType)
#define SECTION_TYPE ((POBJECT_TYPE)MmSectionObjectType)
#define THREAD_TYPE ((POBJECT_TYPE)PsThreadType)
#else
extern POBJECT_TYPE *MmSectionObjectType;
#define EVENT_TYPE (*ExEventObjectType)
#define SECTION_TYPE (*MmSectionObjectType)
#define THREAD_TYPE (*PsThreadType)
#endif
#ifndef SEC_COMMIT
#define SEC_COMMIT 0x8000000
#endif

/* The information class SectionBasicInformation, and its structure. */
#define SECTION_BASIC 0
typedef struct {
    PVOID base;
    ULONG attributes;
    LARGE_INTEGER size;
} section_information;

NTSYSAPI NTSTATUS NTAPI ZwQuerySection(
    HANDLE section, ULONG information_class, PVOID information, SIZE_T information_size, SIZE_T *result_size);

DRIVER_INITIALIZE DriverEntry;

/* One attachment: a thread and what it uses. */
typedef struct {
    KEVENT stop;
    /* Set when the thread has requested a connection, or failed to; `attached` says which. */
    KEVENT begun;
    NTSTATUS attached;
    PVOID thread;

    HANDLE caller;
    xshm_echo_attach given;
    HANDLE section;
    PVOID view;
    SIZE_T view_size;
    /* All events of the channel. */
    PKEVENT events[EVENTS];

    xshm_driver_t channel;
    xshm_driver_u64 ends[ENDS];
    unsigned char message[65536];

    volatile LONG code;
    volatile LONG running;
    volatile LONG64 received;
    volatile LONG64 sent;
    volatile LONG64 data_sleeps;
    volatile LONG64 space_sleeps;
} attachment;

/* The number of threads that run. */
static volatile LONG attachments;

/* One open handle of the device. */
typedef struct {
    /* A lock: only one dispatch routine at a time changes the attachment. The event is set while none does. */
    KEVENT free;
    attachment *attached;
} opened;

/* ------------------------------------------------------------------------------------------------------- memory */

/* Allocates zeroed memory that is neither paged nor executable. */
static PVOID allocate(SIZE_T size)
{
#if defined(POOL_FLAG_NON_PAGED) && defined(NTDDI_WIN10_VB) && NTDDI_VERSION >= NTDDI_WIN10_VB
    /* Exists since Windows 10, version 2004. */
    return ExAllocatePool2(POOL_FLAG_NON_PAGED, size, TAG);
#else
    /* For older kits, MinGW's headers, and drivers that must load on older versions. NonPagedPoolNx exists since Windows 8. */
    PVOID memory = ExAllocatePoolWithTag(NonPagedPoolNx, size, TAG);
    if (memory) RtlZeroMemory(memory, size);
    return memory;
#endif
}

/* ---------------------------------------------------------------------------------------------------- handles */

static ACCESS_MASK event_access(int event)
{
    switch (event) {
    case XSHM_DRIVER_EVENT_S2C_DATA:
    case XSHM_DRIVER_EVENT_C2S_SPACE:
    case XSHM_DRIVER_EVENT_ACKNOWLEDGE: return SYNCHRONIZE;
    case XSHM_DRIVER_EVENT_DISCONNECT: return SYNCHRONIZE | EVENT_MODIFY_STATE;
    default: return EVENT_MODIFY_STATE;
    }
}

#define SECTION_ACCESS (SECTION_MAP_READ | SECTION_MAP_WRITE | SECTION_QUERY)

#ifdef XSHM_ECHO_UNDER_WINE

static NTSTATUS duplicate(HANDLE process, unsigned long long handle, ACCESS_MASK access, HANDLE *own)
{
    if (handle == 0 || handle > 0x7fffffff) return STATUS_INVALID_HANDLE;
    return ZwDuplicateObject(process, (HANDLE)(ULONG_PTR)handle, NtCurrentProcess(), own, access, OBJ_KERNEL_HANDLE, 0);
}

/* Runs in the thread, since the section is mapped into its process. */
static NTSTATUS take_handles(attachment *a)
{
    OBJECT_ATTRIBUTES attributes;
    CLIENT_ID id;
    HANDLE process, event;
    NTSTATUS status;
    int each;
    InitializeObjectAttributes(&attributes, NULL, OBJ_KERNEL_HANDLE, NULL, NULL);
    id.UniqueProcess = a->caller;
    id.UniqueThread = NULL;
    status = ZwOpenProcess(&process, PROCESS_DUP_HANDLE, &attributes, &id);
    if (!NT_SUCCESS(status)) return status;
    status = duplicate(process, a->given.section, SECTION_ACCESS, &a->section);
    for (each = 0; each < EVENTS && NT_SUCCESS(status); each++) {
        status = duplicate(process, a->given.events[each], event_access(each), &event);
        if (NT_SUCCESS(status)) {
            status = ObReferenceObjectByHandle(event, event_access(each), EVENT_TYPE, KernelMode, (PVOID *)&a->events[each], NULL);
            if (!NT_SUCCESS(status)) a->events[each] = NULL;
            ZwClose(event);
        }
    }
    ZwClose(process);
    return status;
}

#else

/* Runs in the caller's context. For UserMode, the kernel checks type and access of the caller's handle, and refuses kernel
   handles. So the driver gets no access that the caller does not have. */
static NTSTATUS look_handles_up(attachment *a)
{
    PVOID section;
    NTSTATUS status;
    int each;
    status = ObReferenceObjectByHandle(
        (HANDLE)(ULONG_PTR)a->given.section, SECTION_ACCESS, SECTION_TYPE, UserMode, &section, NULL);
    if (!NT_SUCCESS(status)) return status;
    /* For KernelMode, since the access was checked above. The caller could close or replace its own handle meanwhile. */
    status = ObOpenObjectByPointer(section, OBJ_KERNEL_HANDLE, NULL, SECTION_ACCESS, SECTION_TYPE, KernelMode, &a->section);
    ObDereferenceObject(section);
    for (each = 0; each < EVENTS && NT_SUCCESS(status); each++) {
        status = ObReferenceObjectByHandle(
            (HANDLE)(ULONG_PTR)a->given.events[each], event_access(each), EVENT_TYPE, UserMode, (PVOID *)&a->events[each], NULL);
        if (!NT_SUCCESS(status)) a->events[each] = NULL;
    }
    return status;
}

#endif

static void give_back(attachment *a)
{
    int each;
    if (a->view) ZwUnmapViewOfSection(NtCurrentProcess(), a->view);
    if (a->section) ZwClose(a->section);
    for (each = 0; each < EVENTS; each++) {
        if (a->events[each]) ObDereferenceObject(a->events[each]);
    }
}

/* ------------------------------------------------------------------------------------------------- the thread */

static void set_event(void *context, unsigned event)
{
    attachment *a = context;
    KeSetEvent(a->events[event], IO_NO_INCREMENT, FALSE);
}

/* Waits for an event of the channel, or for the request to stop. Returns 0 if the thread must stop. */
static int wait_for(attachment *a, int event, LARGE_INTEGER *timeout)
{
    PVOID objects[2];
    objects[0] = &a->stop;
    objects[1] = a->events[event];
    return KeWaitForMultipleObjects(2, objects, WaitAny, Executive, KernelMode, FALSE, timeout, NULL) != STATUS_WAIT_0;
}

static NTSTATUS map_and_check(attachment *a)
{
    section_information information;
    NTSTATUS status = ZwQuerySection(a->section, SECTION_BASIC, &information, sizeof information, NULL);
    if (!NT_SUCCESS(status)) return status;
    /*
     * The server's section is exactly SEC_COMMIT. Pages that are not committed (SEC_RESERVE) or that belong to a file (SEC_FILE,
     * SEC_IMAGE) could fault when the driver touches them. Atomic operations can fault on memory that is not cached (SEC_NOCACHE,
     * SEC_WRITECOMBINE). It is not documented whether Windows reports SEC_LARGE_PAGES here. Such pages cannot fault, and
     * xshm_driver_open refuses the size of such a section.
     */
    if (information.attributes != SEC_COMMIT) return STATUS_INVALID_PARAMETER;
    status = ZwMapViewOfSection(
        a->section, NtCurrentProcess(), &a->view, 0, 0, NULL, &a->view_size, ViewUnmap, 0, PAGE_READWRITE);
    if (!NT_SUCCESS(status)) {
        a->view = NULL;
        return status;
    }
    if (xshm_driver_open(&a->channel, a->view, a->view_size, a->ends, ENDS, set_event, a) != XSHM_DRIVER_OK) {
        return STATUS_REVISION_MISMATCH;
    }
    switch (xshm_driver_request(&a->channel, (xshm_driver_u32)(ULONG_PTR)a->caller)) {
    case XSHM_DRIVER_OK: return STATUS_SUCCESS;
    case XSHM_DRIVER_TAKEN: return STATUS_DEVICE_BUSY;
    default: return STATUS_CONNECTION_DISCONNECTED;
    }
}

/* Sends a message without loss. XSHM_DRIVER_WAITING: the thread must stop. */
static int send_back(attachment *a, xshm_driver_u32 length)
{
    int code;
    while ((code = xshm_driver_try_send(&a->channel, a->message, length)) == XSHM_DRIVER_FULL) {
        if (KeReadStateEvent(&a->stop)) return XSHM_DRIVER_WAITING;
        code = xshm_driver_sleep_for_space(&a->channel, length);
        if (code == XSHM_DRIVER_OK) {
            int goes_on;
            a->space_sleeps++;
            goes_on = wait_for(a, XSHM_DRIVER_EVENT_C2S_SPACE, NULL);
            code = xshm_driver_awake(&a->channel, XSHM_DRIVER_SPACE);
            if (!goes_on) return XSHM_DRIVER_WAITING;
        }
        if (code != XSHM_DRIVER_OK && code != XSHM_DRIVER_LOOK) return code;
    }
    if (code == XSHM_DRIVER_OK) a->sent++;
    return code;
}

/* Answers messages until the thread must stop (XSHM_DRIVER_WAITING) or the session is over. */
static int talk(attachment *a)
{
    xshm_driver_u32 length, at;
    int code;
    for (;;) {
        /* The thread must stop even if the server sends so fast that the thread never sleeps. */
        if (KeReadStateEvent(&a->stop)) return XSHM_DRIVER_WAITING;
        code = xshm_driver_receive(&a->channel, a->message, sizeof a->message, &length);
        if (code == XSHM_DRIVER_OK) {
            a->received++;
            for (at = 0; at < length; at++) a->message[at] = (unsigned char)~a->message[at];
            code = send_back(a, length);
            if (code != XSHM_DRIVER_OK) return code;
        } else if (code == XSHM_DRIVER_EMPTY) {
            code = xshm_driver_sleep_for_data(&a->channel);
            if (code == XSHM_DRIVER_OK) {
                int goes_on;
                a->data_sleeps++;
                goes_on = wait_for(a, XSHM_DRIVER_EVENT_S2C_DATA, NULL);
                code = xshm_driver_awake(&a->channel, XSHM_DRIVER_DATA);
                if (!goes_on) return XSHM_DRIVER_WAITING;
            }
            if (code != XSHM_DRIVER_OK && code != XSHM_DRIVER_LOOK) return code;
        } else if (code != XSHM_DRIVER_BUSY) {
            return code;
        }
    }
}

static void NTAPI run(PVOID context)
{
    attachment *a = context;
    LARGE_INTEGER a_while;
    int code = XSHM_DRIVER_WAITING;
    /* 50 ms, since another client that was refused may have consumed the signal. */
    a_while.QuadPart = -50 * 10000;
#ifdef XSHM_ECHO_UNDER_WINE
    a->attached = take_handles(a);
    if (NT_SUCCESS(a->attached)) a->attached = map_and_check(a);
#else
    a->attached = map_and_check(a);
#endif
    KeSetEvent(&a->begun, IO_NO_INCREMENT, FALSE);
    if (NT_SUCCESS(a->attached)) {
        while ((code = xshm_driver_answer(&a->channel)) == XSHM_DRIVER_WAITING) {
            if (!wait_for(a, XSHM_DRIVER_EVENT_ACKNOWLEDGE, &a_while)) break;
        }
        InterlockedExchange(&a->code, code);
        if (code == XSHM_DRIVER_OK) code = talk(a);
        xshm_driver_leave(&a->channel);
    }
    InterlockedExchange(&a->code, code);
    give_back(a);
    InterlockedDecrement(&attachments);
    InterlockedExchange(&a->running, 0);
    PsTerminateSystemThread(STATUS_SUCCESS);
}

/* ------------------------------------------------------------------------------------------------- attachments */

/* Frees an attachment for which no thread could be started. */
static NTSTATUS discard(attachment *a, NTSTATUS status)
{
    give_back(a);
    InterlockedDecrement(&attachments);
    ExFreePoolWithTag(a, TAG);
    return status;
}

static NTSTATUS detach(opened *o)
{
    attachment *a = o->attached;
    if (!a) return STATUS_NOT_FOUND;
    o->attached = NULL;
    KeSetEvent(&a->stop, IO_NO_INCREMENT, FALSE);
    KeWaitForSingleObject(a->thread, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(a->thread);
    ExFreePoolWithTag(a, TAG);
    return STATUS_SUCCESS;
}

static NTSTATUS attach(opened *o, const xshm_echo_attach *given)
{
    OBJECT_ATTRIBUTES attributes;
    attachment *a;
    HANDLE thread;
    NTSTATUS status;
    if (o->attached && o->attached->running) return STATUS_DEVICE_BUSY;
    /* Frees the previous attachment, which has ended by itself. */
    detach(o);
    a = allocate(sizeof *a);
    if (!a) return STATUS_INSUFFICIENT_RESOURCES;
    KeInitializeEvent(&a->stop, NotificationEvent, FALSE);
    KeInitializeEvent(&a->begun, NotificationEvent, FALSE);
    a->given = *given;
    a->caller = PsGetCurrentProcessId();
    a->code = XSHM_DRIVER_WAITING;
    a->running = 1;
    InterlockedIncrement(&attachments);
#ifndef XSHM_ECHO_UNDER_WINE
    status = look_handles_up(a);
    if (!NT_SUCCESS(status)) return discard(a, status);
#endif
    /* A kernel handle, which Microsoft requires outside the system process. Another thread of the caller could close a handle in
       the caller's table, or put another object in its place. Wine ignores the attributes. */
    InitializeObjectAttributes(&attributes, NULL, OBJ_KERNEL_HANDLE, NULL, NULL);
    status = PsCreateSystemThread(&thread, SYNCHRONIZE, &attributes, NULL, NULL, run, a);
    if (!NT_SUCCESS(status)) return discard(a, status);
    status = ObReferenceObjectByHandle(thread, SYNCHRONIZE, THREAD_TYPE, KernelMode, &a->thread, NULL);
    if (!NT_SUCCESS(status)) {
        /* The thread runs, and uses the attachment until it ends. It gives the handles back itself. */
        KeSetEvent(&a->stop, IO_NO_INCREMENT, FALSE);
        ZwWaitForSingleObject(thread, FALSE, NULL);
        ZwClose(thread);
        ExFreePoolWithTag(a, TAG);
        return status;
    }
    ZwClose(thread);
    KeWaitForSingleObject(&a->begun, Executive, KernelMode, FALSE, NULL);
    o->attached = a;
    status = a->attached;
    if (!NT_SUCCESS(status)) detach(o);
    return status;
}

static NTSTATUS report(const opened *o, xshm_echo_status *status)
{
    const attachment *a = o->attached;
    if (!a) return STATUS_NOT_FOUND;
    status->code = (unsigned)a->code;
    status->running = (unsigned)a->running;
    status->attachments = (unsigned)attachments;
    status->reserved = 0;
    status->received = (unsigned long long)a->received;
    status->sent = (unsigned long long)a->sent;
    status->data_sleeps = (unsigned long long)a->data_sleeps;
    status->space_sleeps = (unsigned long long)a->space_sleeps;
    return STATUS_SUCCESS;
}

/* Between enter and leave, the caller's thread must not be suspended: the other threads that use this handle of the device would
   wait as long, and could not even be terminated. A suspension is a normal kernel APC, which a critical region defers. Wine only
   counts critical regions. */
static void enter(opened *o)
{
    KeEnterCriticalRegion();
    KeWaitForSingleObject(&o->free, Executive, KernelMode, FALSE, NULL);
}

static void leave(opened *o)
{
    KeSetEvent(&o->free, IO_NO_INCREMENT, FALSE);
    KeLeaveCriticalRegion();
}

/* --------------------------------------------------------------------------------------------------- the device */

static NTSTATUS complete(IRP *irp, NTSTATUS status, ULONG_PTR bytes)
{
    irp->IoStatus.Status = status;
    irp->IoStatus.Information = bytes;
    IoCompleteRequest(irp, IO_NO_INCREMENT);
    return status;
}

static NTSTATUS NTAPI on_create(DEVICE_OBJECT *device, IRP *irp)
{
    IO_STACK_LOCATION *stack = IoGetCurrentIrpStackLocation(irp);
    opened *o = allocate(sizeof *o);
    (void)device;
    if (!o) return complete(irp, STATUS_INSUFFICIENT_RESOURCES, 0);
    KeInitializeEvent(&o->free, SynchronizationEvent, TRUE);
    stack->FileObject->FsContext = o;
    return complete(irp, STATUS_SUCCESS, 0);
}

/* The program closed its last handle or died, so its channel ends. Wine 8 does not send this request, so close does the same. */
static NTSTATUS NTAPI on_cleanup(DEVICE_OBJECT *device, IRP *irp)
{
    opened *o = IoGetCurrentIrpStackLocation(irp)->FileObject->FsContext;
    (void)device;
    if (o) {
        enter(o);
        detach(o);
        leave(o);
    }
    return complete(irp, STATUS_SUCCESS, 0);
}

static NTSTATUS NTAPI on_close(DEVICE_OBJECT *device, IRP *irp)
{
    IO_STACK_LOCATION *stack = IoGetCurrentIrpStackLocation(irp);
    opened *o = stack->FileObject->FsContext;
    (void)device;
    if (o) {
        stack->FileObject->FsContext = NULL;
        detach(o);
        ExFreePoolWithTag(o, TAG);
    }
    return complete(irp, STATUS_SUCCESS, 0);
}

static NTSTATUS NTAPI on_control(DEVICE_OBJECT *device, IRP *irp)
{
    IO_STACK_LOCATION *stack = IoGetCurrentIrpStackLocation(irp);
    ULONG in = stack->Parameters.DeviceIoControl.InputBufferLength, out = stack->Parameters.DeviceIoControl.OutputBufferLength;
    opened *o = stack->FileObject->FsContext;
    NTSTATUS status = STATUS_INVALID_DEVICE_REQUEST;
    ULONG_PTR bytes = 0;
    xshm_echo_attach given;
    (void)device;
    enter(o);
    switch (stack->Parameters.DeviceIoControl.IoControlCode) {
    case IOCTL_XSHM_ECHO_ATTACH:
        if (in != sizeof given) {
            status = STATUS_INVALID_PARAMETER;
            break;
        }
        given = *(const xshm_echo_attach *)irp->AssociatedIrp.SystemBuffer;
        status = attach(o, &given);
        break;
    case IOCTL_XSHM_ECHO_DETACH: status = detach(o); break;
    case IOCTL_XSHM_ECHO_STATUS:
        if (out < sizeof(xshm_echo_status)) {
            status = STATUS_BUFFER_TOO_SMALL;
            break;
        }
        status = report(o, irp->AssociatedIrp.SystemBuffer);
        if (NT_SUCCESS(status)) bytes = sizeof(xshm_echo_status);
        break;
    }
    leave(o);
    return complete(irp, status, bytes);
}

static void NTAPI unload(DRIVER_OBJECT *driver)
{
    UNICODE_STRING link = RTL_CONSTANT_STRING(L"\\DosDevices\\XshmEcho");
    IoDeleteSymbolicLink(&link);
    IoDeleteDevice(driver->DeviceObject);
}

NTSTATUS NTAPI DriverEntry(DRIVER_OBJECT *driver, UNICODE_STRING *path)
{
    UNICODE_STRING name = RTL_CONSTANT_STRING(L"\\Device\\XshmEcho"), link = RTL_CONSTANT_STRING(L"\\DosDevices\\XshmEcho");
    DEVICE_OBJECT *device;
    NTSTATUS status;
    (void)path;
    status = IoCreateDevice(driver, 0, &name, FILE_DEVICE_UNKNOWN, FILE_DEVICE_SECURE_OPEN, FALSE, &device);
    if (!NT_SUCCESS(status)) return status;
    status = IoCreateSymbolicLink(&link, &name);
    if (!NT_SUCCESS(status)) {
        IoDeleteDevice(device);
        return status;
    }
    driver->MajorFunction[IRP_MJ_CREATE] = on_create;
    driver->MajorFunction[IRP_MJ_CLEANUP] = on_cleanup;
    driver->MajorFunction[IRP_MJ_CLOSE] = on_close;
    driver->MajorFunction[IRP_MJ_DEVICE_CONTROL] = on_control;
    driver->DriverUnload = unload;
    device->Flags &= ~DO_DEVICE_INITIALIZING;
    return STATUS_SUCCESS;
}
