/* supervise DIR COMMAND…: what a detached start costs at least.
 *
 * A launcher forks a supervisor in a session of its own; that one holds the agent at a
 * gate, with a log as its output, writes a record with its pid (temporary file, fsync,
 * rename, fsync of the directory), opens the gate, and reports once the agent was
 * executed. At the agent's end it writes the record again. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void fail(const char *what) {
    perror(what);
    _exit(125);
}

static void record(int dir, const char *name, pid_t pid, const char *status) {
    char temporary[64], text[256];
    snprintf(temporary, sizeof temporary, ".%s", name);
    int len = snprintf(text, sizeof text, "{\n  \"id\": \"%s\",\n  \"status\": \"%s\",\n  \"pid\": %d\n}\n",
                       name, status, pid);
    int file = openat(dir, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0 || write(file, text, len) != len || fsync(file) < 0)
        fail("write");
    close(file);
    if (renameat(dir, temporary, dir, name) < 0 || fsync(dir) < 0)
        fail("rename");
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

static void supervise(int report, int dir, const char *path, char **command) {
    char name[32], log[4096];
    int gate[2], executed[2], error;
    setsid();
    snprintf(name, sizeof name, "%d.json", getpid());
    snprintf(log, sizeof log, "%s/%d.log", path, getpid());
    if (pipe2(gate, O_CLOEXEC) < 0 || pipe2(executed, O_CLOEXEC) < 0)
        fail("pipe");
    pid_t pid = fork();
    if (pid < 0)
        fail("fork");
    if (pid == 0)
        agent(gate[0], executed[1], log, command);
    record(dir, name, pid, "running");
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
    record(dir, name, pid, status == 0 ? "completed" : "failed");
    _exit(0);
}

int main(int argc, char **argv) {
    int report[2], error;
    if (argc < 3)
        return 2;
    int dir = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 || pipe2(report, O_CLOEXEC) < 0)
        fail(argv[1]);
    pid_t pid = fork();
    if (pid < 0)
        fail("fork");
    if (pid == 0) {
        close(report[0]);
        supervise(report[1], dir, argv[1], argv + 2);
    }
    close(report[1]);
    if (read(report[0], &error, sizeof error) != sizeof error || error != 0)
        return 125;
    printf("%d\n", pid);
    return 0;
}
