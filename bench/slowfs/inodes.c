#include "slowfs.h"

#include <stdlib.h>
#include <unistd.h>

void inodes_init(struct inodes *inodes, int root)
{
    pthread_mutex_init(&inodes->lock, NULL);
    inodes->root.fd = root;
}

struct inode *inodes_of(struct inodes *inodes, fuse_ino_t number)
{
    return number == FUSE_ROOT_ID ? &inodes->root : (struct inode *)(uintptr_t)number;
}

fuse_ino_t inodes_number(struct inodes *inodes, const struct inode *inode)
{
    return inode == &inodes->root ? FUSE_ROOT_ID : (fuse_ino_t)(uintptr_t)inode;
}

struct inode *inodes_enter(struct inodes *inodes, int fd, const struct stat *st)
{
    struct inode_key key;
    struct inode *inode = NULL;

    memset(&key, 0, sizeof key);
    key.dev = st->st_dev;
    key.ino = st->st_ino;
    pthread_mutex_lock(&inodes->lock);
    HASH_FIND(hh, inodes->table, &key, sizeof key, inode);
    if (inode) {
        close(fd);
    } else if ((inode = calloc(1, sizeof *inode))) {
        inode->key = key;
        inode->fd = fd;
        inode->generation = ++inodes->generation;
        HASH_ADD(hh, inodes->table, key, sizeof key, inode);
    } else {
        close(fd);
    }
    if (inode)
        inode->lookups++;
    pthread_mutex_unlock(&inodes->lock);
    return inode;
}

void inodes_forget(struct inodes *inodes, fuse_ino_t number, uint64_t lookups)
{
    struct inode *inode = inodes_of(inodes, number);

    if (inode == &inodes->root)
        return;
    pthread_mutex_lock(&inodes->lock);
    inode->lookups -= lookups;
    const bool last = inode->lookups == 0;
    if (last)
        HASH_DEL(inodes->table, inode);
    pthread_mutex_unlock(&inodes->lock);
    if (last) {
        close(inode->fd);
        free(inode);
    }
}
