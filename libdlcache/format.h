/* The image and the state of a stage, byte by byte.
 *
 * The specification is doc/FORMAT.md; the section numbers below are its. All numbers are little-endian and of fixed
 * width; a reserved byte is zero. This header is included by code that runs inside the user's process: it declares
 * data only. */
#ifndef DLCACHE_FORMAT_H
#define DLCACHE_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the image format is little-endian and is read in place"
#endif

#define DLC_IMAGE_MAGIC "DLCIMAGE"
#define DLC_STATE_MAGIC "DLCSTATE"
#define DLC_FORMAT_VERSION 1u

/* Feature bits of an image that a reader has to know (FORMAT.md 2.2): none yet. */
#define DLC_INCOMPAT_KNOWN 0ull

/* "None" where an index of a node, an object or a mount is optional. */
#define DLC_NONE 0xffffffffu

/* FORMAT.md 5: the type of a mount that agrees with whatever is mounted there. */
#define DLC_MOUNT_BUNDLE "dlcache-bundle"

/* FORMAT.md 2.1: a table inside the index: `off` bytes from the start of the image, `count` records (for strings,
 * bytes). */
struct dlc_section {
    uint64_t off;
    uint64_t count;
};

/* FORMAT.md 2. */
struct dlc_header {
    char magic[8];      /* DLC_IMAGE_MAGIC */
    uint32_t version;   /* DLC_FORMAT_VERSION */
    uint32_t size;      /* of this header */
    uint64_t incompat;  /* feature bits: an unknown one refuses the image */
    uint64_t compat;    /* feature bits that a reader may ignore */
    uint64_t index_size;/* bytes of header and sections; contents follow at this offset */
    uint64_t data_size; /* bytes of contents, whether they follow in this file or are laid down as a mirror */
    struct dlc_section nodes;   /* struct dlc_node; node 0 is "/" */
    struct dlc_section buckets; /* struct dlc_bucket; count is a power of two, at least twice that of nodes */
    struct dlc_section strings; /* bytes; every string in it is followed by a NUL */
    struct dlc_section mounts;  /* struct dlc_mount */
    struct dlc_section objects; /* struct dlc_object, by node */
    struct dlc_section inodes;  /* struct dlc_inode, sorted by (dev, ino): nodes whose contents are held */
    uint64_t tls_size;  /* static TLS that all objects together may ask for, bytes */
    uint8_t digest[16]; /* XXH3-128 (big-endian) of the bytes [size, index_size), times of access
                         * counted as zero: the identity of the image */
    uint64_t reserved[10];
    uint64_t check;    /* dlc_hash64 over the header's bytes before this field */
};

/* A name in the name space: what lstat said of it, and where its contents are. FORMAT.md 3. */
struct dlc_node {
    uint32_t parent;   /* node; the root's is itself */
    uint32_t name;     /* offset into strings */
    uint16_t name_len; /* bytes, without the NUL */
    uint8_t kind;      /* DT_REG, DT_DIR, DT_LNK …, DT_UNKNOWN */
    uint8_t reserved0;
    uint32_t flags;    /* DLC_N_… */
    uint32_t mount;    /* index into mounts; DLC_NONE where DLC_N_STAT is not set */
    uint32_t first;    /* directory: its first child (children are contiguous, sorted by name bytes) */
    uint32_t children; /* directory: number of names known below it */
    uint32_t target;   /* symlink: offset of its target into strings */
    uint32_t target_len;
    uint32_t object;   /* index into objects, or DLC_NONE */
    uint64_t data;     /* offset of the contents behind the index; equal for hard links */
    /* from here to the end: valid with DLC_N_STAT (ino also without, from the directory's list) */
    uint64_t ino;
    uint64_t size;
    uint64_t blocks;
    int64_t atime, mtime, ctime, btime; /* seconds */
    uint32_t atime_ns, mtime_ns, ctime_ns, btime_ns;
    uint32_t mode;
    uint32_t uid, gid;
    uint32_t nlink;
    uint32_t blksize;
    uint32_t rdev_major, rdev_minor;
    uint32_t attributes;      /* statx: stx_attributes & 0xffffffff */
    uint32_t attributes_mask; /* statx: stx_attributes_mask & 0xffffffff */
    uint32_t order;           /* place in its directory's list, from 0; also without STAT, where the list was read */
};

enum {
    DLC_N_STAT = 1u << 0,    /* the stat fields are filled in */
    DLC_N_DATA = 1u << 1,    /* a regular file whose contents are held */
    DLC_N_FROZEN = 1u << 2,  /* a directory whose complete list of names is in the image */
    DLC_N_READ = 1u << 3,    /* access(R_OK) succeeded when the image was built */
    DLC_N_EXEC = 1u << 4,    /* access(X_OK) succeeded when the image was built */
    DLC_N_BTIME = 1u << 5,   /* btime is known */
    DLC_N_NOEXEC = 1u << 6,  /* access(X_OK) gives EACCES */
    DLC_N_VOLATILE = 1u << 7, /* a directory in which the pilot wrote: never frozen */
    DLC_N_RUN = 1u << 8,      /* a program or script that does from here what it does from its place */
    DLC_N_MADE = 1u << 9      /* from a bundle: the file system never had it */
};

/* Open addressing, linear probing; an empty bucket has node 0 (the root is nobody's child). FORMAT.md 4. */
struct dlc_bucket {
    uint32_t tag; /* high half of the hash */
    uint32_t node;
};

/* The mount that files came from, as in /proc/self/mountinfo of the reader. FORMAT.md 5. Offsets into strings. */
struct dlc_mount {
    uint32_t point, point_len;
    uint32_t type, type_len;
    uint32_t source, source_len;
    uint32_t root, root_len;
    uint64_t dev;    /* st_dev of the files (they can differ from the mount's: btrfs), makedev() form */
    uint64_t mi_dev; /* major:minor of mountinfo, makedev() form */
};

/* An ELF file that this machine's dynamic loader would take. FORMAT.md 6. */
struct dlc_object {
    uint32_t node;
    uint32_t soname, soname_len; /* offset into strings; length 0: none */
    uint16_t machine;            /* e_machine */
    uint8_t elf_class;           /* ELFCLASS64 … */
    uint8_t type;                /* ET_DYN, ET_EXEC */
    uint32_t flags_1;            /* DT_FLAGS_1 */
    uint32_t flags;              /* DT_FLAGS */
    uint64_t tls_size;           /* PT_TLS p_memsz */
    uint64_t tls_align;
};

/* FORMAT.md 7. */
struct dlc_inode {
    uint64_t dev; /* st_dev on the reader */
    uint64_t ino;
    uint32_t node; /* the first of the nodes with this inode */
    uint32_t mount;
};

/* ------------------------------------------------------------------ the state of one stage on one node: FORMAT.md 8
 * A file of its own, mapped read-write by every attached process of the node. */
struct dlc_state {
    char magic[8];     /* DLC_STATE_MAGIC */
    uint32_t version;  /* DLC_FORMAT_VERSION */
    uint32_t size;     /* of this header */
    uint64_t total;    /* bytes of the file */
    uint8_t digest[16];/* of the image that this stage was laid down from */
    uint64_t dev;      /* st_dev of the mirror */
    uint64_t nodes;    /* as in the image */
    uint64_t mirror_off;  /* struct dlc_mirror, one a node */
    uint64_t inode_off;   /* uint32_t node or 0, open addressing by mirror inode; count is a power of two */
    uint64_t inode_count;
    uint64_t mount_off;   /* struct dlc_mount_state, one a mount of the image */
    uint64_t dirty_off;   /* uint8_t DLC_D_…, one a node */
    uint64_t mnt_ns;      /* inode of the mount name space in which the stage was laid down, */
    uint64_t root_dev, root_ino; /* and its root directory */
    uint32_t complete;    /* written last */
    uint32_t audit;       /* DLC_AUDIT_…: what the behaviour probe found */
    uint32_t all_agree;   /* every mount of the image is here as it was on the reader */
    uint32_t any_dirty;   /* set before the first dirty byte is */
    uint32_t tls_size;    /* what to ask of glibc.rtld.optional_static_tls, bytes; 0: nothing */
    uint32_t prefix_len;  /* of the mirror's prefix: "D/root" */
    char prefix[512];     /* absolute path of the mirror, NUL-terminated */
    uint64_t root_mount;  /* the mount that the root directory is in: statx's unique number, or 0 */
    uint64_t changes;     /* goes up before and after each dirty byte is set */
    uint64_t loader_off;  /* struct dlc_loader, one */
    uint64_t counts_off;  /* struct dlc_counts, DLC_COUNT_SLOTS of them */
    uint64_t reserved[12];
};

/* FORMAT.md 9: the end of an image file, behind the digests of its chunks. */
#define DLC_TRAILER_MAGIC "DLCCHUNK"

struct dlc_trailer {
    char magic[8];
    uint32_t version;
    uint32_t size;
    uint64_t chunk;         /* bytes of a chunk; the last one may be shorter */
    uint64_t count;         /* of chunks */
    uint64_t digests_check;
    uint64_t index_check;   /* the digest of the index leaves the times of access out */
    uint64_t check;
};

/* What lies in the mirror under a node's name. */
struct dlc_mirror {
    uint64_t ino;   /* 0: nothing (or a symlink to the original) */
    int64_t ctime;  /* of the lay-down, with which an inode number is confirmed */
    uint32_t ctime_ns;
    uint32_t reserved;
};

struct dlc_mount_state {
    uint64_t dev;    /* st_dev to report on this node */
    uint32_t agrees; /* the node's own mount is the reader's */
    uint32_t reserved;
};

#define DLC_LOADER_SUBDIRS 63u /* the most that are told */

/* How the node's dynamic loader searches, as it said itself. `text`, each of them followed by a NUL: its cache's path;
 * what $LIB and $PLATFORM stand for (nothing: what uses it is not searched); the subdirectories of every directory that
 * it looks into first, in its order; the default directories. All zero: not known. */
struct dlc_loader {
    uint32_t id_len; /* of its build id, by which a process knows whether it has this loader */
    uint32_t subdirs;
    uint32_t defaults;
    uint32_t text_len;
    uint8_t id[32];
    char text[4048];
};

/* FORMAT.md 8.5: what calls came to, of programs that DLCACHE_STATS tells to count. */
enum dlc_count {
    DLC_C_PROGRAMS,  /* that have counted */
    DLC_C_FOUND,     /* stat, access, readlink and their families: answered with what is there */
    DLC_C_ABSENT,    /* any call: answered with what is provably not there */
    DLC_C_OPENED,    /* files opened in the mirror */
    DLC_C_LISTED,    /* directories opened in the mirror */
    DLC_C_NOT_HELD,  /* asked of the kernel: known, but not what was asked for */
    DLC_C_CHANGED,   /* asked of the kernel: it has changed */
    DLC_C_UNKNOWN,   /* asked of the kernel: the stage knows nothing of it */
    DLC_C_OBJECTS,   /* shared objects loaded from the mirror */
    DLC_C_ORIGINALS, /* shared objects loaded from elsewhere */
    DLC_C_USED
};

#define DLC_COUNT_SLOTS 64u

/* Each process adds to one of the slots, so that many do not wait for one line of memory. */
struct dlc_counts {
    uint64_t n[16];
};

enum {
    DLC_D_SELF = 1u,  /* the node changed: ask the kernel about it and all below it */
    DLC_D_NAMES = 2u  /* directory: a name came or went: its list, absences and stat data are the kernel's */
};

enum { DLC_AUDIT_UNKNOWN = 0, DLC_AUDIT_OK = 1, DLC_AUDIT_BAD = 2 };

#define DLC_AT(type, field, offset) \
    _Static_assert(offsetof(struct type, field) == (offset), #type "." #field)
#define DLC_SIZE(type, bytes) _Static_assert(sizeof(struct type) == (bytes), #type)

DLC_SIZE(dlc_header, 256);
DLC_AT(dlc_header, version, 8);
DLC_AT(dlc_header, incompat, 16);
DLC_AT(dlc_header, index_size, 32);
DLC_AT(dlc_header, nodes, 48);
DLC_AT(dlc_header, buckets, 64);
DLC_AT(dlc_header, strings, 80);
DLC_AT(dlc_header, mounts, 96);
DLC_AT(dlc_header, objects, 112);
DLC_AT(dlc_header, inodes, 128);
DLC_AT(dlc_header, tls_size, 144);
DLC_AT(dlc_header, digest, 152);
DLC_AT(dlc_header, check, 248);
DLC_SIZE(dlc_node, 160);
DLC_AT(dlc_node, flags, 12);
DLC_AT(dlc_node, target, 28);
DLC_AT(dlc_node, data, 40);
DLC_AT(dlc_node, ino, 48);
DLC_AT(dlc_node, atime, 72);
DLC_AT(dlc_node, atime_ns, 104);
DLC_AT(dlc_node, mode, 120);
DLC_AT(dlc_node, attributes, 148);
DLC_SIZE(dlc_bucket, 8);
DLC_SIZE(dlc_mount, 48);
DLC_SIZE(dlc_object, 40);
DLC_AT(dlc_object, tls_size, 24);
DLC_SIZE(dlc_inode, 24);
DLC_SIZE(dlc_state, 784);
DLC_AT(dlc_state, root_mount, 656);
DLC_AT(dlc_state, changes, 664);
DLC_AT(dlc_state, loader_off, 672);
DLC_AT(dlc_state, counts_off, 680);
DLC_SIZE(dlc_loader, 4096);
DLC_SIZE(dlc_counts, 128);
DLC_SIZE(dlc_mirror, 24);
DLC_SIZE(dlc_mount_state, 16);

#endif
