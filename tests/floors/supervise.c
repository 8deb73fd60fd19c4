/* supervise [-a] DIR COMMAND…: what a detached start costs at least.
 *
 * A launcher forks a supervisor in a session of its own; that one holds the agent at a
 * gate, with a log as its output, writes a record with its pid (temporary file, fsync,
 * rename, fsync of the directory), opens the gate, and reports once the agent was
 * executed. At the agent's end it writes the record again.
 *
 * With -a it makes all files that Monoco makes: a pending record before the fork, and in
 * a directory of the session's own a locked lease, a control socket, and a reserve. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int all;

static void fail(const char *what) {
    perror(what);
    _exit(125);
}

static void record(int dir, const char *name, pid_t pid, const char *status, int durable) {
    char temporary[64], text[256];
    snprintf(temporary, sizeof temporary, ".%s", name);
    int len = snprintf(text, sizeof text, "{\n  \"id\": \"%s\",\n  \"status\": \"%s\",\n  \"pid\": %d\n}\n",
                       name, status, pid);
    int file = openat(dir, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0 || write(file, text, len) != len || (durable && fsync(file) < 0))
        fail("write");
    close(file);
    if (renameat(dir, temporary, dir, name) < 0 || (durable && fsync(dir) < 0))
        fail("rename");
}

/* A directory of the session's own, and its lease in it. */
static int home(int dir, const char *run) {
    if (mkdirat(dir, run, 0700) < 0)
        fail(run);
    int own = openat(dir, run, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int lease = openat(own, "lease", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (own < 0 || lease < 0 || flock(lease, LOCK_EX | LOCK_NB) < 0)
        fail("lease");
    return own;
}

/* What its owner adds. */
static void furnish(int own, const char *path, const char *run) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/%s/control.sock", path, run);
    int ear = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (ear < 0 || bind(ear, (struct sockaddr *)&address, sizeof address) < 0 || listen(ear, 64) < 0)
        fail("socket");
    int reserve = openat(own, "reserve", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (reserve < 0 || fallocate(reserve, 0, 0, 4096) < 0)
        fail("reserve");
}

static void clear(int dir, int own, const char *run) {
    if (unlinkat(own, "lease", 0) < 0 || unlinkat(own, "control.sock", 0) < 0 ||
        unlinkat(own, "reserve", 0) < 0 || unlinkat(dir, run, AT_REMOVEDIR) < 0)
        fail(run);
}

static void agent(int gate, int report, const char *log, char **command) {
    char byte;
    setsid();
    int out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    int in = open("/dev/null", O_RDONLY);
    if (out < 0 || in < 0)
        fail(log);
    dup2(in, 0);
    dup2(out, 1);
    dup2(out, 2);
    if (read(gate, &byte, 1) != 1)
        _exit(125);
    execvp(command[0], command);
    int error = errno;
    if (write(report, &error, sizeof error) < 0)
        _exit(125);
    _exit(127);
}

static void supervise(int report, int dir, const char *path, const char *run, char **command) {
    char name[64], log[4096];
    int own = -1, gate[2], executed[2], error;
    setsid();
    snprintf(name, sizeof name, "%s.json", run);
    snprintf(log, sizeof log, "%s/%s.log", path, run);
    if (all) {
        own = openat(dir, run, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        furnish(own, path, run);
    }
    if (pipe2(gate, O_CLOEXEC) < 0 || pipe2(executed, O_CLOEXEC) < 0)
        fail("pipe");
    pid_t pid = fork();
    if (pid < 0)
        fail("fork");
    if (pid == 0)
        agent(gate[0], executed[1], log, command);
    record(dir, name, pid, "running", 1);
    close(executed[1]);
    if (write(gate[1], "", 1) != 1)
        fail("gate");
    if (read(executed[0], &error, sizeof error) == 0)
        error = 0;
    if (write(report, &error, sizeof error) < 0)
        fail("report");
    close(report);
    int null = open("/dev/null", O_RDWR);
    for (int fd = 0; fd < 3; fd++)
        dup2(null, fd);
    int status;
    waitpid(pid, &status, 0);
    record(dir, name, pid, status == 0 ? "completed" : "failed", 1);
    if (all)
        clear(dir, own, run);
    _exit(0);
}

int main(int argc, char **argv) {
    char run[32], name[64];
    int report[2], error;
    if (argc > 1 && strcmp(argv[1], "-a") == 0) {
        all = 1;
        argc--, argv++;
    }
    if (argc < 3)
        return 2;
    snprintf(run, sizeof run, "%d", getpid());
    int dir = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 || pipe2(report, O_CLOEXEC) < 0)
        fail(argv[1]);
    if (all) {
        close(home(dir, run));
        snprintf(name, sizeof name, "%s.json", run);
        record(dir, name, 0, "pending", 0);
    }
    pid_t pid = fork();
    if (pid < 0)
        fail("fork");
    if (pid == 0) {
        close(report[0]);
        supervise(report[1], dir, argv[1], run, argv + 2);
    }
    close(report[1]);
    if (read(report[0], &error, sizeof error) != sizeof error || error != 0)
        return 125;
    printf("%d\n", pid);
    return 0;
}
