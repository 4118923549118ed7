/* A walk through the whole cuda backend with a kernel whose results are known. Every step may fail,
 * but it must say why, and what was made is taken down again. Run in a process of its own. */
#ifndef GB_TESTS_KIT_SCENE_H
#define GB_TESTS_KIT_SCENE_H

typedef struct kit_scene {
    int steps;              /* that were tried */
    int failures;           /* that said why */
    int complaints;         /* wrong: printed as well */
    int replays, fallbacks; /* of its graph */
    char first[512];        /* the text of the first failure */
} kit_scene;

/* cache: a folder for the backend's compiled images, which shall be empty. */
void kit_scene_run(kit_scene *scene, const char *cache);

#endif
