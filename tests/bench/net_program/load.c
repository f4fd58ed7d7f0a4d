/* Load for the network's rows: one static program for dom0 and guests. Started by tests/bench/part_net.py and
 * explain_net.py.
 *
 * usage: load mark COMMAND ...                 runs the command between the marks that plugin/count.c knows
 *        load send ADDRESS PORT COUNT BYTES    UDP packets, as fast as they go
 *        load receive PORT                     counts packets until none came for two seconds: `received COUNT in
 * NANOSECONDS`, from the first to the last
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void need(int good, const char* what) {
    if (!good) {
        perror(what);
        exit(1);
    }
}

static int mark(char** command) {
    int status = 1;
    __asm__ volatile(".byte 0x0f, 0x1f, 0x84, 0x00; .long 0x446f6d01" ::: "memory");
    const pid_t child = vfork();
    if (child == 0) {
        execv(command[0], command);
        _exit(127);
    }
    need(child > 0 && waitpid(child, &status, 0) == child, command[0]);
    __asm__ volatile(".byte 0x0f, 0x1f, 0x84, 0x00; .long 0x446f6d02" ::: "memory");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static int udp_socket(void) {
    const int s = socket(AF_INET, SOCK_DGRAM, 0);
    need(s >= 0, "socket");
    return s;
}

static int send_packets(const char* address, int port, long count, size_t size) {
    static char data[65536];
    const struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons((unsigned short)port), .sin_addr.s_addr = inet_addr(address)};
    const int s = udp_socket();
    need(size <= sizeof data && connect(s, (const struct sockaddr*)&to, sizeof to) == 0, "connect");
    for (long i = 0; i < count; ++i)
        need(send(s, data, size, 0) == (ssize_t)size, "send");
    return 0;
}

static long long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int receive_packets(int port) {
    static char data[65536];
    const struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    const struct timeval patience = {.tv_sec = 2};
    const int s = udp_socket();
    long count = 0;
    long long first = 0, last = 0;
    need(bind(s, (const struct sockaddr*)&own, sizeof own) == 0, "bind");
    need(recv(s, data, sizeof data, 0) >= 0, "recv"); // the first may take as long as it wants
    need(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0, "setsockopt");
    first = last = now();
    while (recv(s, data, sizeof data, 0) >= 0) {
        last = now();
        ++count;
    }
    printf("received %ld in %lld\n", count, last - first);
    return 0;
}

int main(int argc, char** argv) {
    if (argc > 2 && strcmp(argv[1], "mark") == 0)
        return mark(argv + 2);
    if (argc == 6 && strcmp(argv[1], "send") == 0)
        return send_packets(argv[2], atoi(argv[3]), atol(argv[4]), (size_t)atol(argv[5]));
    if (argc == 3 && strcmp(argv[1], "receive") == 0)
        return receive_packets(atoi(argv[2]));
    fprintf(stderr, "load: the head of load.c says how it is called\n");
    return 2;
}
