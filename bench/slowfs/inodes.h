/* The inodes that one node's kernel knows: a descriptor (O_PATH) each, found by device and number. The kernel counts
 * every answer that names an inode, and gives them back by `forget`. Any thread. */
#ifndef SLOWFS_INODES_H
#define SLOWFS_INODES_H

#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/stat.h>
#include <uthash.h>

struct inode_key {
    dev_t dev;
    ino_t ino;
};

struct inode {
    struct inode_key key;
    int fd;
    uint64_t lookups;
    uint64_t generation; /* a number is given anew once the file is gone, but not with the generation */
    UT_hash_handle hh;
};

struct inodes {
    pthread_mutex_t lock;
    struct inode *table;
    struct inode root;
    uint64_t generation;
};

void inodes_init(struct inodes *, int root);

/* The inode of a number that the kernel was given. */
struct inode *inodes_of(struct inodes *, fuse_ino_t number);
fuse_ino_t inodes_number(struct inodes *, const struct inode *);

/* The inode that `fd` (O_PATH) is of, known once more to the kernel. The descriptor is the table's from here on. */
struct inode *inodes_enter(struct inodes *, int fd, const struct stat *);
void inodes_forget(struct inodes *, fuse_ino_t number, uint64_t lookups);

#endif
