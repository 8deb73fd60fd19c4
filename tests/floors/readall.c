/* readall DIR THREADS: opens, reads and closes every file of a directory, and does
 * nothing with what they hold. */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char **names;
static size_t count;
static int dir, threads;

static void *read_share(void *first) {
    static _Thread_local char buffer[1 << 16];
    size_t total = 0;
    for (size_t i = (size_t)first; i < count; i += threads) {
        int file = openat(dir, names[i], O_RDONLY | O_CLOEXEC);
        if (file < 0)
            continue;
        ssize_t n;
        while ((n = read(file, buffer, sizeof buffer)) > 0)
            total += n;
        close(file);
    }
    return (void *)total;
}

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    threads = atoi(argv[2]);
    DIR *listing = opendir(argv[1]);
    if (!listing || threads < 1)
        return 1;
    dir = dirfd(listing);
    size_t room = 0;
    for (struct dirent *entry; (entry = readdir(listing));) {
        if (entry->d_name[0] == '.')
            continue;
        if (count == room)
            names = realloc(names, (room = room ? 2 * room : 1024) * sizeof *names);
        names[count++] = strdup(entry->d_name);
    }
    pthread_t others[threads];
    for (size_t i = 1; i < (size_t)threads; i++)
        pthread_create(&others[i], NULL, read_share, (void *)i);
    size_t total = (size_t)read_share(0);
    for (int i = 1; i < threads; i++) {
        void *theirs;
        pthread_join(others[i], &theirs);
        total += (size_t)theirs;
    }
    printf("%zu files, %zu bytes\n", count, total);
    return 0;
}
