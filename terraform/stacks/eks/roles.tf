# Four roles, each with the one policy of its owner. Nodes may pull images, and nothing more: what else they are often
# given (network, volumes) belongs to pods, by Pod Identity, so that a pod that breaks out of its node finds little.

locals {
  pods = { service = "pods.eks.amazonaws.com", actions = ["sts:AssumeRole", "sts:TagSession"] }

  roles = {
    cluster = { trusts = { service = "eks.amazonaws.com", actions = ["sts:AssumeRole"] }, policies = ["AmazonEKSClusterPolicy"] }
    node = {
      trusts   = { service = "ec2.amazonaws.com", actions = ["sts:AssumeRole"] }
      policies = ["AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly"]
    }
    network = { trusts = local.pods, policies = ["AmazonEKS_CNI_Policy"] }
    volumes = { trusts = local.pods, policies = ["service-role/AmazonEBSCSIDriverPolicy"] }
  }

  attachments = merge([
    for name, role in local.roles : { for policy in role.policies : "${name}-${policy}" => { role = name, policy = policy } }
  ]...)
}

resource "aws_iam_role" "this" {
  for_each = local.roles

  name = "${var.name}-${each.key}"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = each.value.trusts.actions
      Principal = { Service = each.value.trusts.service }
    }]
  })
}

resource "aws_iam_role_policy_attachment" "this" {
  for_each = local.attachments

  role       = aws_iam_role.this[each.value.role].name
  policy_arn = "arn:aws:iam::aws:policy/${each.value.policy}"
}
