// Nextflow runs the tasks of this folder (a line of participants.txt each), and the group level after them:
//
//     bash submit.sh -profile slurm
//
// brainseg-bids BIDS OUT participant --write-job nextflow wrote it. Results go straight to the output folder,
// which all nodes must see; meta.yml describes the processes.

process BRAINSEG_PARTICIPANT {
    tag "${meta.id}"
    label 'process_medium'

    input:
    tuple val(meta), path(script)

    output:
    tuple val(meta), path("${meta.line}.done"), emit: done
    path 'versions.yml', emit: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    """
    bash ${script} ${meta.line}
    touch ${meta.line}.done
    echo '"${task.process}": {brainseg-bids: ${params.version}}' > versions.yml
    """

    stub:
    """
    touch ${meta.line}.done
    echo '"${task.process}": {brainseg-bids: ${params.version}}' > versions.yml
    """
}

process BRAINSEG_GROUP {
    label 'process_single'

    input:
    path script
    val finished

    output:
    path 'group.done', emit: done

    script:
    """
    bash ${script}
    touch group.done
    """

    stub:
    """
    touch group.done
    """
}

workflow {
    task_script = file("${projectDir}/task.sh", checkIfExists: true)
    labels = file("${projectDir}/participants.txt", checkIfExists: true).readLines()
    tasks = channel.fromList((1..labels.size()).collect { line -> tuple([id: labels[line - 1], line: line], task_script) })
    BRAINSEG_PARTICIPANT(tasks)
    // toList also gives a value where no task succeeded: the group level always follows.
    BRAINSEG_GROUP(file("${projectDir}/group.sh", checkIfExists: true), BRAINSEG_PARTICIPANT.out.done.toList())
}
