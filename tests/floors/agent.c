/* An agent that does nothing: it says when it began, to the FIFO that is named, and
 * sleeps until it is killed. */
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc > 1) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        long long nanoseconds = now.tv_sec * 1000000000LL + now.tv_nsec;
        int fifo = open(argv[1], O_WRONLY | O_CLOEXEC);
        if (fifo < 0 || write(fifo, &nanoseconds, sizeof nanoseconds) < 0)
            return 1;
        close(fifo);
    }
    for (;;)
        pause();
}
