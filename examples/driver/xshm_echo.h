/* The interface between the driver xshm_echo and its user programs. */
#ifndef XSHM_ECHO_H
#define XSHM_ECHO_H

/* In user mode, winioctl.h has CTL_CODE; in kernel mode, the driver kit's headers do. */

#define XSHM_ECHO_PATH "\\\\.\\XshmEcho"

/* The driver becomes the client of a channel. It has requested a connection when the call returns: then call
   wait_for_client. Each open handle of the device can have one channel. */
#define IOCTL_XSHM_ECHO_ATTACH CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800, METHOD_BUFFERED, FILE_READ_ACCESS | FILE_WRITE_ACCESS)

/* The driver leaves the channel, and stops using it before the call returns. Closing the device's handle does the same. */
#define IOCTL_XSHM_ECHO_DETACH CTL_CODE(FILE_DEVICE_UNKNOWN, 0x801, METHOD_BUFFERED, FILE_READ_ACCESS | FILE_WRITE_ACCESS)

/* Returns an xshm_echo_status. */
#define IOCTL_XSHM_ECHO_STATUS CTL_CODE(FILE_DEVICE_UNKNOWN, 0x802, METHOD_BUFFERED, FILE_READ_ACCESS | FILE_WRITE_ACCESS)

/* The handles from shm_server_client_handles in the calling process, 64 bits each, also in 32-bit programs. */
typedef struct xshm_echo_attach {
    unsigned long long section;
    /* By number: s2c_data, c2s_data, s2c_space, c2s_space, request, acknowledge, disconnect. */
    unsigned long long events[7];
} xshm_echo_attach;

typedef struct xshm_echo_status {
    /* The last result of xshm_driver.h: XSHM_DRIVER_WAITING, _OK while the session lives, _OVER, _CORRUPTED, ... */
    unsigned int code;
    /* Whether the driver's thread still runs. */
    unsigned int running;
    /* The number of attachments, of all open handles, whose threads run. */
    unsigned int attachments;
    unsigned int reserved;
    unsigned long long received;
    unsigned long long sent;
    /* How often the driver has slept for a message, and for room. */
    unsigned long long data_sleeps;
    unsigned long long space_sleeps;
} xshm_echo_status;

#endif
