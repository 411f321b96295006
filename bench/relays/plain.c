/* The floor: what a relay costs that trusts everybody. Each source gets a socket of its own,
 * connected to the far end; a packet is a look-up in a hash table, one system call in and one out. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

enum { SLOTS = 1 << 16, DRAIN = 64, READY = 256, SIZE = 65536, FILES = 1 << 20 };

static struct flow { struct sockaddr_in source; int fd; } flows[SLOTS];
static uint32_t slot_of[FILES];
static struct sockaddr_in far_end;
static int poller;

static struct flow *find(const struct sockaddr_in *source) {
    uint32_t key = source->sin_addr.s_addr * 2654435761u ^ source->sin_port * 40503u;
    for (uint32_t slot = key >> 16;; slot++) {
        struct flow *flow = &flows[slot % SLOTS];
        if (flow->fd && (flow->source.sin_addr.s_addr != source->sin_addr.s_addr ||
                         flow->source.sin_port != source->sin_port))
            continue;
        return flow;
    }
}

static int open_flow(struct flow *flow, const struct sockaddr_in *source) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (fd < 0 || fd >= FILES || connect(fd, (struct sockaddr *)&far_end, sizeof far_end) < 0 ||
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0)
        return -1;
    flow->source = *source;
    flow->fd = fd;
    slot_of[fd] = (uint32_t)(flow - flows);
    return 0;
}

int main(int argc, char **argv) {
    static char packet[SIZE];
    struct rlimit limit;
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listener = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), buffer = 4 << 20;
    if (argc != 4 || listener < 0)
        return 2;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
    here.sin_port = htons((uint16_t)atoi(argv[1]));
    far_end.sin_family = AF_INET;
    far_end.sin_addr.s_addr = inet_addr(argv[2]);
    far_end.sin_port = htons((uint16_t)atoi(argv[3]));
    poller = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, ready[READY];
    if (bind(listener, (struct sockaddr *)&here, sizeof here) < 0 ||
        epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event) < 0) {
        perror("listen");
        return 1;
    }
    for (;;) {
        int count = epoll_wait(poller, ready, READY, -1);
        for (int i = 0; i < count; i++) {
            int fd = ready[i].data.fd;
            if (fd != listener) {
                ssize_t size = recv(fd, packet, SIZE, 0);
                struct flow *flow = &flows[slot_of[fd]];
                if (size >= 0)
                    sendto(listener, packet, (size_t)size, 0, (struct sockaddr *)&flow->source,
                           sizeof flow->source);
                continue;
            }
            for (int n = 0; n < DRAIN; n++) {
                struct sockaddr_in source;
                socklen_t length = sizeof source;
                ssize_t size =
                    recvfrom(listener, packet, SIZE, 0, (struct sockaddr *)&source, &length);
                if (size < 0)
                    break;
                struct flow *flow = find(&source);
                if (flow->fd || open_flow(flow, &source) == 0)
                    send(flow->fd, packet, (size_t)size, 0);
            }
        }
    }
}
