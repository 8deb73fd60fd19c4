/* end PID: TERM, and no more than waiting until the process is gone. */
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc < 2)
        return 2;
    int process = syscall(SYS_pidfd_open, atoi(argv[1]), 0);
    if (process < 0)
        return 1;
    struct pollfd gone = {.fd = process, .events = POLLIN};
    if (syscall(SYS_pidfd_send_signal, process, SIGTERM, NULL, 0) < 0)
        return 1;
    return poll(&gone, 1, -1) == 1 ? 0 : 1;
}
