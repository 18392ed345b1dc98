/* What the driver xshm_echo and its user programs say to each other. */
#ifndef XSHM_ECHO_H
#define XSHM_ECHO_H

/* In user mode, winioctl.h has CTL_CODE; in kernel mode, the driver kit's headers do. */

#define XSHM_ECHO_PATH "\\\\.\\XshmEcho"

/* Begins to play the client of a channel. Its hello stands in the section when the call returns: wait for the client then. One channel
   for each open handle of the device. */
#define IOCTL_XSHM_ECHO_ATTACH CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800, METHOD_BUFFERED, FILE_READ_ACCESS | FILE_WRITE_ACCESS)

/* Leaves the channel, and returns when nothing of it is used any more. Closing the device's handle does so too. */
#define IOCTL_XSHM_ECHO_DETACH CTL_CODE(FILE_DEVICE_UNKNOWN, 0x801, METHOD_BUFFERED, FILE_READ_ACCESS | FILE_WRITE_ACCESS)

/* How it goes: gives an xshm_echo_status. */
#define IOCTL_XSHM_ECHO_STATUS CTL_CODE(FILE_DEVICE_UNKNOWN, 0x802, METHOD_BUFFERED, FILE_READ_ACCESS | FILE_WRITE_ACCESS)

/* The handles that shm_server_client_handles gives, of the calling process. 64 bits each, so that 32-bit programs say the same. */
typedef struct xshm_echo_attach {
    unsigned long long section;
    /* In the order of their numbers: data to the client, data to the server, space likewise, request, acknowledgement, disconnect. */
    unsigned long long events[7];
} xshm_echo_attach;

typedef struct xshm_echo_status {
    /* The last result of xshm_driver.h: XSHM_DRIVER_WAITING, _OK while the session lives, _OVER, _CORRUPTED, ... */
    unsigned int code;
    /* Whether the driver's thread still runs. */
    unsigned int running;
    /* Attachments of all open handles whose threads run. */
    unsigned int attachments;
    unsigned int reserved;
    unsigned long long received;
    unsigned long long sent;
    /* Times that it has slept for a message, and for room. */
    unsigned long long data_sleeps;
    unsigned long long space_sleeps;
} xshm_echo_status;

#endif
