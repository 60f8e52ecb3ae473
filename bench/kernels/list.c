/* Follows a linked list of 16384 nodes laid out in random order n times, reversing it each time: dependent loads. */
#include "kernel.h"

#define N 16384
static struct node { struct node *next; u32 value; u32 pad[2]; } node[N];
static u32 order[N];

KERNEL i64 run(i32 n) {
    start();
    for (u32 i = 0; i < N; i++) order[i] = i;
    for (u32 i = N - 1; i > 0; i--) {
        u32 j = (u32)(next() >> 32) % (i + 1), t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
    for (u32 i = 0; i < N; i++) {
        node[order[i]].next = i + 1 < N ? &node[order[i + 1]] : NULL;
        node[order[i]].value = i * 2654435761u;
    }
    struct node *head = &node[order[0]];
    u64 h = 0;
    for (i32 round = 0; round < n; round++) {
        struct node *back = NULL;
        u32 place = 0;
        while (head) {
            struct node *following = head->next;
            h += (u64)head->value * ++place;
            head->next = back;
            back = head;
            head = following;
        }
        head = back;
        h = mix(h, round);
    }
    return h;
}
